/* The least that gives a writable root: mount the state filesystem, mount the overlay, exit.
 *
 *     bare DEVICE FSTYPE DIR ROOT
 *
 * Mounts DEVICE at DIR, makes DIR/upper and DIR/work, and mounts an overlay of them over ROOT. It finds no device,
 * checks no filesystem and no result, reads no configuration, and leaves nothing behind: the floor, not a rival.
 */
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

int main(int argc, char **argv)
{
	char upper[256], work[256], options[1024];

	if (argc != 5)
		return 2;
	mkdir(argv[3], 0700);
	if (mount(argv[1], argv[3], argv[2], MS_NOATIME, ""))
		return 1;
	snprintf(upper, sizeof upper, "%s/upper", argv[3]);
	snprintf(work, sizeof work, "%s/work", argv[3]);
	mkdir(upper, 0755);
	mkdir(work, 0700);
	snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", argv[4], upper, work);
	return mount("overlay", argv[4], "overlay", 0, options) ? 1 : 0;
}

# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_overlayctl_global_optspecs
    string join \n overlay= store= json no-ask-password h/help V/version
end

function __fish_overlayctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_overlayctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_overlayctl_using_subcommand
    set -l cmd (__fish_overlayctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c overlayctl -n "__fish_overlayctl_needs_command" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_needs_command" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_needs_command" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -s V -l version -d 'Print version'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "status" -d 'Show how everything is, and why'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "list" -d 'List the overlays'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "snapshot" -d 'Make, list, show, delete, protect or describe snapshots'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "commit" -d 'Make a snapshot and let it be the baseline: what a reset goes back to'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "diff" -d 'Tell what differs between the image, snapshots, generations and what is live'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "reset" -d 'Discard every change and go back to the baseline or to the image, at the next boot'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "restore" -d 'Go back to a snapshot at the next boot, or bring single paths back at once'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "undo" -d 'Go back to the generation before the last reset or restore, at the next boot'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "cancel" -d 'Take the pending request back'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "store" -d 'Look the store through and repair it'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "mark" -d 'Say that the booted root came up well, or that the next boot shall go back'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "config" -d 'Show or check the configuration'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "monitor" -d 'Follow what happens, until interrupted'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand status" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand status" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand status" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand status" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand status" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand list" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand list" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand list" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand list" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand list" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and not __fish_seen_subcommand_from create list show delete protect describe help" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and not __fish_seen_subcommand_from create list show delete protect describe help" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and not __fish_seen_subcommand_from create list show delete protect describe help" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and not __fish_seen_subcommand_from create list show delete protect describe help" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and not __fish_seen_subcommand_from create list show delete protect describe help" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and not __fish_seen_subcommand_from create list show delete protect describe help" -f -a "create" -d 'Make a snapshot of all that was changed, now'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and not __fish_seen_subcommand_from create list show delete protect describe help" -f -a "list" -d 'List the snapshots, oldest first'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and not __fish_seen_subcommand_from create list show delete protect describe help" -f -a "show" -d 'Show all that is known about a snapshot'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and not __fish_seen_subcommand_from create list show delete protect describe help" -f -a "delete" -d 'Delete snapshots for good'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and not __fish_seen_subcommand_from create list show delete protect describe help" -f -a "protect" -d 'Keep snapshots until they are no longer protected'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and not __fish_seen_subcommand_from create list show delete protect describe help" -f -a "describe" -d 'Change a snapshot\'s description and words'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and not __fish_seen_subcommand_from create list show delete protect describe help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from create" -s m -l message -d 'What it is for; everybody can read it: at most 128 bytes' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from create" -l userdata -d 'A word of your own about it, up to 16 times' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from create" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from create" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from create" -l quiesced -d 'At the next boot, before anything runs: consistent as a whole, and at constant cost'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from create" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from create" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from show" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from show" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from show" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from delete" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from delete" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from delete" -s y -l yes -d 'Do not ask'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from delete" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from delete" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from delete" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from protect" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from protect" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from protect" -l off -d 'Protect them no longer'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from protect" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from protect" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from protect" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from describe" -s m -l message -d 'What it is for, in place of what it says: at most 128 bytes' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from describe" -l userdata -d 'Set a word of your own; KEY= takes it away' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from describe" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from describe" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from describe" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from describe" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from describe" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "create" -d 'Make a snapshot of all that was changed, now'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the snapshots, oldest first'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show all that is known about a snapshot'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "delete" -d 'Delete snapshots for good'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "protect" -d 'Keep snapshots until they are no longer protected'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "describe" -d 'Change a snapshot\'s description and words'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand commit" -s m -l message -d 'What it is for; everybody can read it: at most 128 bytes' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand commit" -l userdata -d 'A word of your own about it, up to 16 times' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand commit" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand commit" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand commit" -l dry-run -d 'Only print what it would hold'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand commit" -l quiesced -d 'At the next boot, before anything runs: consistent as a whole, and at constant cost'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand commit" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand commit" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand commit" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand diff" -l base -d 'With --store: where the image is mounted' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand diff" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand diff" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand diff" -l stat -d 'Only print how much differs'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand diff" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand diff" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand diff" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l keep -d 'Keep what matches, besides what the configuration keeps' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l now -d 'Do not wait for the next boot: boot now' -r -f -a "reboot\t''
soft-reboot\t''"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l via -d 'What asks, for the record; for programs that ask on behalf of something else' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l factory -d 'To the image as it was built: snapshots, the baseline and everything else is deleted, and there is no undo'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l wipe -d 'The same, by erasing the state device and making it anew; nothing can be kept'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l drop-kept -d 'Keep nothing of what the configuration keeps'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l dry-run -d 'Only print what would be lost and kept, and the steps, now and at the next boot'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -s y -l yes -d 'Do not ask'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand restore" -l from -d 'Where paths come from, in place of a snapshot: the read-only image' -r -f -a "base\t''"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand restore" -l now -d 'Do not wait for the next boot: boot now' -r -f -a "reboot\t''
soft-reboot\t''"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand restore" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand restore" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand restore" -l dry-run -d 'Only print what would happen, and what it would bring back'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand restore" -s y -l yes -d 'Do not ask'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand restore" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand restore" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand restore" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand undo" -l now -d 'Do not wait for the next boot: boot now' -r -f -a "reboot\t''
soft-reboot\t''"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand undo" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand undo" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand undo" -l dry-run -d 'Only print the steps, now and at the next boot'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand undo" -s y -l yes -d 'Do not ask'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand undo" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand undo" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand undo" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand cancel" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand cancel" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand cancel" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand cancel" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand cancel" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and not __fish_seen_subcommand_from check help" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and not __fish_seen_subcommand_from check help" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and not __fish_seen_subcommand_from check help" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and not __fish_seen_subcommand_from check help" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and not __fish_seen_subcommand_from check help" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and not __fish_seen_subcommand_from check help" -f -a "check" -d 'Find what is damaged, missing or in the way, and say what can be done about it'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and not __fish_seen_subcommand_from check help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and __fish_seen_subcommand_from check" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and __fish_seen_subcommand_from check" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and __fish_seen_subcommand_from check" -l repair -d 'Repair what can be proved; nothing is deleted'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and __fish_seen_subcommand_from check" -l dry-run -d 'With --repair: only say what it would do'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and __fish_seen_subcommand_from check" -l layers -d 'Look at every file of every layer, too, for marks that make it depend on another; they are only told'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and __fish_seen_subcommand_from check" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and __fish_seen_subcommand_from check" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and __fish_seen_subcommand_from help" -f -a "check" -d 'Find what is damaged, missing or in the way, and say what can be done about it'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand store; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and not __fish_seen_subcommand_from good bad help" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and not __fish_seen_subcommand_from good bad help" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and not __fish_seen_subcommand_from good bad help" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and not __fish_seen_subcommand_from good bad help" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and not __fish_seen_subcommand_from good bad help" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and not __fish_seen_subcommand_from good bad help" -f -a "good" -d 'It came up well: what counts its boots begins anew'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and not __fish_seen_subcommand_from good bad help" -f -a "bad" -d 'It is bad: the next boot goes back to what was good, to the baseline or to the image'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and not __fish_seen_subcommand_from good bad help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from good" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from good" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from good" -l forget -d 'Delete what was bad before, and is kept for a look at it'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from good" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from good" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from good" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from bad" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from bad" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from bad" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from bad" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from bad" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from help" -f -a "good" -d 'It came up well: what counts its boots begins anew'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from help" -f -a "bad" -d 'It is bad: the next boot goes back to what was good, to the baseline or to the image'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand mark; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and not __fish_seen_subcommand_from show check help" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and not __fish_seen_subcommand_from show check help" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and not __fish_seen_subcommand_from show check help" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and not __fish_seen_subcommand_from show check help" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and not __fish_seen_subcommand_from show check help" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and not __fish_seen_subcommand_from show check help" -f -a "show" -d 'Print each value in force and where it was set'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and not __fish_seen_subcommand_from show check help" -f -a "check" -d 'Find what is wrong before a boot does'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and not __fish_seen_subcommand_from show check help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from show" -l root -d 'The system whose configuration it is' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from show" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from show" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from show" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from check" -l root -d 'The system whose configuration it is' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from check" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from check" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from check" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from check" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print each value in force and where it was set'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "check" -d 'Find what is wrong before a boot does'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand monitor" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand monitor" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand monitor" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand monitor" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand monitor" -s h -l help -d 'Print help'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "status" -d 'Show how everything is, and why'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "list" -d 'List the overlays'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "snapshot" -d 'Make, list, show, delete, protect or describe snapshots'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "commit" -d 'Make a snapshot and let it be the baseline: what a reset goes back to'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "diff" -d 'Tell what differs between the image, snapshots, generations and what is live'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "reset" -d 'Discard every change and go back to the baseline or to the image, at the next boot'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "restore" -d 'Go back to a snapshot at the next boot, or bring single paths back at once'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "undo" -d 'Go back to the generation before the last reset or restore, at the next boot'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "cancel" -d 'Take the pending request back'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "store" -d 'Look the store through and repair it'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "mark" -d 'Say that the booted root came up well, or that the next boot shall go back'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "config" -d 'Show or check the configuration'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "monitor" -d 'Follow what happens, until interrupted'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list snapshot commit diff reset restore undo cancel store mark config monitor help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "create" -d 'Make a snapshot of all that was changed, now'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "list" -d 'List the snapshots, oldest first'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "show" -d 'Show all that is known about a snapshot'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "delete" -d 'Delete snapshots for good'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "protect" -d 'Keep snapshots until they are no longer protected'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "describe" -d 'Change a snapshot\'s description and words'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and __fish_seen_subcommand_from store" -f -a "check" -d 'Find what is damaged, missing or in the way, and say what can be done about it'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and __fish_seen_subcommand_from mark" -f -a "good" -d 'It came up well: what counts its boots begins anew'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and __fish_seen_subcommand_from mark" -f -a "bad" -d 'It is bad: the next boot goes back to what was good, to the baseline or to the image'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Print each value in force and where it was set'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Find what is wrong before a boot does'

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
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "reset" -d 'Discard every change and go back to the base, at the next boot'
complete -c overlayctl -n "__fish_overlayctl_needs_command" -f -a "cancel" -d 'Take the pending request back'
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
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l now -d 'Do not wait for the next boot: boot now' -r -f -a "reboot\t'The whole machine'
soft-reboot\t'Userspace only'"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l dry-run -d 'Only print the steps, now and at the next boot'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -s y -l yes -d 'Do not ask'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand cancel" -l overlay -d 'Which overlay [default: all for status and list, root otherwise]' -r
complete -c overlayctl -n "__fish_overlayctl_using_subcommand cancel" -l store -d 'Work on the store in this directory, without the daemon' -r -f -a "(__fish_complete_directories)"
complete -c overlayctl -n "__fish_overlayctl_using_subcommand cancel" -l json -d 'Print JSON'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand cancel" -l no-ask-password -d 'Never ask for a password'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand cancel" -s h -l help -d 'Print help'
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
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list reset cancel config monitor help" -f -a "status" -d 'Show how everything is, and why'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list reset cancel config monitor help" -f -a "list" -d 'List the overlays'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list reset cancel config monitor help" -f -a "reset" -d 'Discard every change and go back to the base, at the next boot'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list reset cancel config monitor help" -f -a "cancel" -d 'Take the pending request back'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list reset cancel config monitor help" -f -a "config" -d 'Show or check the configuration'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list reset cancel config monitor help" -f -a "monitor" -d 'Follow what happens, until interrupted'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and not __fish_seen_subcommand_from status list reset cancel config monitor help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Print each value in force and where it was set'
complete -c overlayctl -n "__fish_overlayctl_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Find what is wrong before a boot does'

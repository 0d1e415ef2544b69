# fish completion for flotactl: what bash's file, beside this one or where it is installed, offers.

set -g __flotactl_here (path dirname (status filename) 2>/dev/null; or dirname (status filename))

function __flotactl_offers
	for file in $__flotactl_here/flotactl $__flotactl_here/../../bash-completion/completions/flotactl
		if test -r $file
			bash -c 'source "$1" && _flotactl_offers "${@:2}"' bash $file \
				(commandline -opc) (commandline -ct) 2>/dev/null
			return
		end
	end
end

for name in flotactl fleetctl
	complete -c $name -f -a '(__flotactl_offers)'
end

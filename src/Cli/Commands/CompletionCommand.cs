using System.CommandLine;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist completion: scripts that have a shell ask mldist itself, by System.CommandLine's suggest directive.</summary>
internal sealed class CompletionCommand : Command
{
    // The suggestions are lines that no shell may expand; where there is none, a file is meant.
    private const string Bash = """
        # mldist's completion for bash: eval "$(mldist completion bash)", in ~/.bashrc
        _mldist() {
            local word="${COMP_WORDS[COMP_CWORD]}" line
            COMPREPLY=()
            while IFS= read -r line; do
                [[ $line == "$word"* ]] && COMPREPLY+=("$line")
            done < <("${COMP_WORDS[0]}" "[suggest:$COMP_POINT]" "$COMP_LINE" 2>/dev/null)
        }
        complete -o default -F _mldist mldist
        """;

    private const string Zsh = """
        #compdef mldist
        # mldist's completion for zsh: eval "$(mldist completion zsh)", in ~/.zshrc after compinit
        _mldist() {
            local line="${(j: :)words[1,CURRENT]}"
            local -a found
            found=("${(@f)$("${words[1]}" "[suggest:${#line}]" "$line" 2>/dev/null)}")
            found=("${(@)found:#}")
            if (( $#found )); then compadd -a found; else _files; fi
        }
        compdef _mldist mldist
        """;

    private const string Fish = """
        # mldist's completion for fish: mldist completion fish | source, in ~/.config/fish/config.fish
        function __mldist_complete
            set -l line (commandline -cp)
            mldist "[suggest:"(string length -- "$line")"]" "$line" 2>/dev/null
        end
        complete -c mldist -a '(__mldist_complete)'
        """;

    private readonly Argument<string> _shell = new("shell") { Description = "bash, zsh or fish." };

    public CompletionCommand() : base("completion", "Print a script that has a shell complete mldist's commands and options.")
    {
        _shell.AcceptOnlyFromAmong("bash", "zsh", "fish");
        Add(_shell);
        SetAction(parsed => Console.Out.WriteLine(parsed.GetRequiredValue(_shell) switch { "bash" => Bash, "zsh" => Zsh, _ => Fish }));
    }
}

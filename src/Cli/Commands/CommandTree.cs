using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using MLDistributed.Cli.Output;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>All commands; their errors are one sentence on standard error and an exit code.</summary>
internal static class CommandTree
{
    public static async Task<int> RunAsync(string[] args)
    {
        Terminal.ShowVisibly();
        var parsed = Create().Parse(args);
        // Help, the version and suggestions for half a line are no errors.
        if (parsed.Action is ParseErrorAction)
        {
            await Console.Error.WriteLineAsync($"{string.Join(" ", parsed.Errors.Select(e => e.Message))} See \"mldist {PathOf(parsed.CommandResult)}--help\".").ConfigureAwait(false);
            return ExitCode.Usage;
        }

        try
        {
            return await parsed.InvokeAsync(new InvocationConfiguration
            {
                EnableDefaultExceptionHandler = false,
                // The services have their own rules for signals.
                ProcessTerminationTimeout = parsed.CommandResult.Command is ServiceCommand ? null : TimeSpan.FromSeconds(5),
            }).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            var (message, code) = CliErrors.Explain(e);
            await Console.Error.WriteLineAsync(VisibleText.Hanging(message, "  ")).ConfigureAwait(false);
            return code;
        }
    }

    // "keys create ": without the root, which bears the name of whatever program this is.
    private static string PathOf(SymbolResult? result) => result switch
    {
        CommandResult { Command: not RootCommand } command => $"{PathOf(command.Parent)}{command.Command.Name} ",
        _ => "",
    };

    internal static RootCommand Create()
    {
        var root = new RootCommand("Trains ML.NET's neural networks on many cores.")
        {
            new CoordinatorCommand(),
            new WorkerCommand(),
            new JobsCommand(),
            new ModelsCommand(),
            new WatchCommand(),
            new CancelCommand(),
            new DatasetsCommand(),
            new WorkersCommand(),
            new KeysCommand(),
            new TokensCommand(),
            new BackupCommand(),
            new SlurmCommand(),
            new LibtorchCommand(),
            new CompletionCommand(),
            new Command("rank", "A training process of a worker.") { Hidden = true },
        };
        var help = root.Options.OfType<HelpOption>().Single();
        help.Action = new RootHelp((HelpAction)help.Action!);
        return root;
    }
}

/// <summary>A command that runs until it is told to leave.</summary>
internal abstract class ServiceCommand(string name, string description) : Command(name, description)
{
    protected static Option<string?> RunDirectory() => new("--run-directory")
    {
        Description = "A folder to hold while this service runs; the last of its holders removes it. For apps that start their own cluster.",
        HelpName = "R",
    };

    protected static Option<bool> Lifeline() => new("--lifeline")
    {
        Description = "Leave when standard input ends, and ignore Ctrl-C. For apps that start their own cluster.",
    };
}

using System.CommandLine;
using System.CommandLine.Parsing;

namespace MLDistributed.Cli.Commands;

/// <summary>All commands; their errors are one sentence on standard error and an exit code.</summary>
internal static class CommandTree
{
    public static async Task<int> RunAsync(string[] args)
    {
        var parsed = Create().Parse(args);
        if (parsed.Errors.Count > 0)
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
                ProcessTerminationTimeout = parsed.CommandResult.Command is ServiceCommand ? null : TimeSpan.FromSeconds(2),
            }).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            var (message, code) = CliErrors.Explain(e);
            await Console.Error.WriteLineAsync(message).ConfigureAwait(false);
            return code;
        }
    }

    // "keys create ": without the root, which bears the name of whatever program this is.
    private static string PathOf(SymbolResult? result) => result switch
    {
        CommandResult { Command: not RootCommand } command => $"{PathOf(command.Parent)}{command.Command.Name} ",
        _ => "",
    };

    private static RootCommand Create() => new("Trains ML.NET's neural networks on many cores, GPUs and machines.")
    {
        new CoordinatorCommand(),
        new WorkerCommand(),
        new JobsCommand(),
        new WatchCommand(),
        new CancelCommand(),
        new WorkersCommand(),
        new KeysCommand(),
        new TokensCommand(),
        new LibtorchCommand(),
        new Command("rank", "A training process of a worker.") { Hidden = true },
    };
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

using System.CommandLine;
using MLDistributed.Cli.Output;
using MLDistributed.Coordinator;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist backup</summary>
internal sealed class BackupCommand : Command
{
    private readonly Option<string> _data = new("--data") { Description = "The coordinator's data folder, on this machine.", Required = true, HelpName = "D" };
    private readonly Option<string> _to = new("--to") { Description = "The folder to copy it to; into that of an earlier backup only what is new is copied.", Required = true, HelpName = "F" };
    private readonly Option<bool> _json = ClusterCommand.AsJson();

    public BackupCommand() : base("backup", "Copy a coordinator's data folder while it runs, into one with which a coordinator can start.")
    {
        Add(_data);
        Add(_to);
        Add(_json);
        SetAction(Run);
    }

    private Task<int> Run(ParseResult parsed, CancellationToken cancellation)
    {
        var made = CoordinatorAdministration.MakeBackup(parsed.GetRequiredValue(_data), parsed.GetRequiredValue(_to), cancellation);
        if (parsed.GetValue(_json))
            Json.Write(new BackupView(made.Copied + made.Kept, made.Copied, made.Bytes));
        else
            Console.WriteLine($"Backed up the database and {made.Copied + made.Kept:N0} stored files, of which {made.Copied:N0} are new ({Words.Bytes(made.Bytes)}).");
        return Task.FromResult(ExitCode.Success);
    }
}

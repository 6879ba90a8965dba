using System.CommandLine;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist models: what jobs have made.</summary>
internal sealed class ModelsCommand : Command
{
    public ModelsCommand() : base("models", "Fetch what a job made.")
    {
        var cluster = new ClusterOptions();
        cluster.AddTo(this, isRecursive: true);
        Add(new JobDownloadCommand(cluster));
    }
}

using MLDistributed.Cli.Commands;
using MLDistributed.Worker.Ranks;

// Before anything else is loaded: a cold cluster waits for its rank processes.
return args is ["rank", ..]
    ? await RankHost.RunAsync(args)
    : await CommandTree.RunAsync(args);

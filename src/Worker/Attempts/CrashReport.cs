using MLDistributed.Protocol;
using MLDistributed.Training.Native;
using MLDistributed.Worker.Ranks;

namespace MLDistributed.Worker.Attempts;

/// <summary>Words for the end of a process.</summary>
internal static class CrashReport
{
    private const int SignalBase = 128;

    /// <summary>The failure of a rank whose process ended in the middle of an attempt.</summary>
    /// <param name="rank">Which.</param>
    /// <param name="host">Where.</param>
    /// <param name="exit">How.</param>
    /// <param name="step">The step that the rank had begun; 0: none.</param>
    /// <param name="script">The TorchScript file that it trains; null: none.</param>
    public static JobFailure Describe(int rank, string host, RankExit exit, long step, string? script = null)
    {
        var (exitCode, lastWords) = (exit.ExitCode, exit.LastWords);
        if (script is not null && UnreadScript(lastWords) is { } why)
            return new JobFailure { Kind = FailureKind.Training, Rank = rank, Host = host, Message = $"TorchScript file \"{script}\" could not be loaded: {why.TrimEnd('.')}, expected a module that libtorch {LibtorchFolder.PackageVersion} reads. Save it again, by a PyTorch that is not newer." };
        var failure = new JobFailure
        {
            Kind = FailureKind.Crashed,
            Rank = rank,
            Host = host,
            ExitCode = exitCode,
            Step = step,
            Message = exit.KilledBecause is { } reason
                ? $"Rank {rank} on \"{host}\" {reason}"
                : $"Rank {rank} on \"{host}\" {Ending(exitCode)}, expected it to train to the end. {Remedy(exitCode, lastWords)}",
        };
        failure.LastWords.AddRange(lastWords.Where(w => !NativeMessage.IsStack(w)));
        return failure;
    }

    /// <summary>Why a process that never became ready ended.</summary>
    public static string WhyNotReady(RankExit exit) =>
        $"its rank process {exit.KilledBecause ?? Ending(exit.ExitCode) + " while it loaded"}{(exit.LastWords.Count > 0 ? $": {NativeMessage.FirstSentence(Words(exit.LastWords))}" : "")}";

    /// <summary>"was killed by signal 9 (SIGKILL)" or "ended with exit code 3".</summary>
    public static string Ending(int exitCode) => exitCode > SignalBase && SignalName(exitCode - SignalBase) is { } name
        ? $"was killed by signal {exitCode - SignalBase} ({name})"
        : $"ended with exit code {exitCode}";

    private static string Remedy(int exitCode, IReadOnlyList<string> lastWords) => (exitCode - SignalBase) switch
    {
        9 => "If nobody killed it, the machine ran out of memory (see its kernel log): take a smaller batch or model, or fewer slots.",
        _ when NativeMessage.IsOutOfMemory(Words(lastWords)) => $"It ran out of memory ({NativeMessage.FirstSentence(Words(lastWords))}): take a smaller batch or model, or fewer slots.",
        _ when lastWords.Count > 0 => $"Its last words: {NativeMessage.FirstSentence(Words(lastWords))}",
        _ => "It left no last words; see the worker's log.",
    };

    // An error in a script's code is none that TorchSharp 0.107 catches. No other attempt would do better.
    private static string? UnreadScript(IReadOnlyList<string> lastWords) =>
        lastWords.Any(w => w.Contains("torch::jit::ErrorReport", StringComparison.Ordinal))
            ? NativeMessage.FirstSentence(string.Join('\n', lastWords.SkipWhile(w => !w.Contains("what():", StringComparison.Ordinal)))) : null;

    // What a C++ exception says stands above its stack.
    private static string Words(IReadOnlyList<string> lastWords) =>
        lastWords.LastOrDefault(w => w.Contains("what():", StringComparison.Ordinal)) ?? lastWords.LastOrDefault(w => !NativeMessage.IsStack(w)) ?? "";

    private static string? SignalName(int signal) => signal switch
    {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => null,
    };
}

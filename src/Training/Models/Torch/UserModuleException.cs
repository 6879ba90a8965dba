using MLDistributed.Collectives;
using MLDistributed.Training.Native;
using MLDistributed.Training.Native.Cuda;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>A user's module threw, or is not what a job can train. No other attempt would do better.</summary>
/// <param name="message">A sentence for the user.</param>
/// <param name="step">The step, from 1; 0: before the first.</param>
/// <param name="inner">What the module threw.</param>
internal sealed class UserModuleException(string message, long step = 0, Exception? inner = null) : Exception(message, inner)
{
    private const int MaxLines = 40;

    public long Step => step;

    /// <summary>Whether the module's own code threw it; else the machine did, the other ranks, or who has said all of it.</summary>
    public static bool IsOfModule(Exception thrown) =>
        thrown is not (CollectiveException or CudaException or OutOfMemoryException or UserModuleException) && !NativeMessage.IsOutOfMemory(thrown.Message);

    /// <summary>What a member of a module threw.</summary>
    public static UserModuleException Of(nn.Module module, string member, Exception thrown, long step = 0) =>
        new($"Module \"{ModuleTensors.NameOf(module)}\" failed in its {member}: {thrown.GetType().Name}: {NativeMessage.FirstSentence(thrown.Message)}", step, thrown);

    /// <summary>The stack of what the module threw, down to where it was called.</summary>
    public IEnumerable<string> Stack => InnerException is null ? [] : InnerException.ToString().Split('\n').Select(l => l.TrimEnd()).TakeWhile(l => !l.Contains(" at MLDistributed.Training.", StringComparison.Ordinal)).Take(MaxLines);
}

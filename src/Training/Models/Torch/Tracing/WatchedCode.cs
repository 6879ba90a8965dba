using System.Reflection;
using Mono.Cecil;

namespace MLDistributed.Training.Models;

/// <summary>A call of a method of TorchSharp by a module's code.</summary>
/// <param name="method">What was called.</param>
/// <param name="caller">The method that called, as "MyNet.forward".</param>
/// <param name="arguments">Its arguments, an instance method's object first; spans as arrays.</param>
/// <param name="result">What it returned.</param>
internal delegate void CallListener(MethodBase method, string caller, object?[] arguments, object? result);

/// <summary>A job's assemblies again, changed so that a listener hears of each call that they make of TorchSharp: libtorch's own ways to record a module are out of TorchSharp's reach.</summary>
internal sealed class WatchedCode(IReadOnlyDictionary<string, byte[]> files) : ModuleCode(files)
{
    /// <summary>Hears of calls while it is set.</summary>
    public CallListener? Listener { get; set; }

    protected override Assembly Load(byte[] content, byte[]? symbols)
    {
        var assembly = base.Load(Watched(content), null);
        assembly.GetType(CallWatching.TypeName)?.GetField(CallWatching.FieldName)!.SetValue(null,
            new Action<MethodBase, string, object?[], object?>((method, caller, arguments, result) => Listener?.Invoke(method, caller, arguments, result)));
        return assembly;
    }

    // What cannot be changed runs as it is, and is seen by its layers alone.
    private static byte[] Watched(byte[] content)
    {
        try
        {
            return CallWatching.Rewrite(content);
        }
        catch (Exception e) when (e is BadImageFormatException or NotSupportedException or AssemblyResolutionException or ArgumentException or InvalidOperationException)
        {
            return content;
        }
    }
}

using System.Reflection;
using System.Runtime.Loader;

namespace MLDistributed.Training.Models;

/// <summary>
/// A job's assemblies, in a context of their own: they share TorchSharp, this library's contract and .NET with the rank, and
/// nothing else. The process that loads them serves no other job.
/// </summary>
internal class ModuleCode(IReadOnlyDictionary<string, byte[]> files) : AssemblyLoadContext("module")
{
    protected override Assembly? Load(AssemblyName assemblyName) =>
        files.TryGetValue($"{assemblyName.Name}.dll", out var content)
            ? Load(content, files.TryGetValue($"{assemblyName.Name}.pdb", out var symbols) ? symbols : null)
            : Default.LoadFromAssemblyName(new AssemblyName(assemblyName.Name!)); // whatever version was asked for, it is this one

    protected virtual Assembly Load(byte[] content, byte[]? symbols) => LoadFromStream(new MemoryStream(content), symbols is null ? null : new MemoryStream(symbols));
}

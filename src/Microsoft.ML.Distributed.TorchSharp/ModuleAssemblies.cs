using System.Reflection;
using System.Runtime.Loader;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Packs what a module needs: its assembly and what that references, and so on, less what a worker has itself (.NET,
/// TorchSharp, this library) and ML.NET, which no forward needs.
/// </summary>
internal static class ModuleAssemblies
{
    private const long MaxSymbolBytes = 8 << 20;
    private static readonly string s_runtime = Path.GetDirectoryName(typeof(object).Assembly.Location) ?? "";

    // .NET's own: of ECMA, Microsoft and the framework's later keys.
    private static readonly HashSet<string> s_frameworkKeys = new(StringComparer.OrdinalIgnoreCase) { "b03f5f7f11d50a3a", "b77a5c561934e089", "7cec85d7bea7798e", "cc7b13ffcd2ddd51", "31bf3856ad364e35", "adb9793829ddae60" };

    /// <exception cref="ArgumentException">They are too large.</exception>
    /// <exception cref="NotSupportedException">They are no files.</exception>
    public static byte[] Pack(params IEnumerable<Assembly> roots)
    {
        var files = new Dictionary<string, byte[]>(StringComparer.OrdinalIgnoreCase);
        var open = new Queue<Assembly>(roots.Distinct());
        while (open.TryDequeue(out var assembly))
        {
            var name = assembly.GetName().Name!;
            if (IsOurs(name) || IsFramework(assembly) || files.ContainsKey($"{name}.dll"))
                continue;
            Add(files, name, assembly);
            var context = AssemblyLoadContext.GetLoadContext(assembly) ?? AssemblyLoadContext.Default;
            foreach (var reference in assembly.GetReferencedAssemblies().Where(r => !IsOurs(r.Name!)))
                if (TryLoad(context, reference) is { } next)
                    open.Enqueue(next);
        }

        return CodePackage.Write(files);
    }

    private static void Add(Dictionary<string, byte[]> files, string name, Assembly assembly)
    {
        if (assembly.Location.Length == 0 || !File.Exists(assembly.Location))
            throw new NotSupportedException($"Assembly \"{name}\" of the module is no file of its own, expected one that can travel to the workers. Publish without PublishSingleFile, or put the module into a class library that is loaded from a file.");
        files[$"{name}.dll"] = File.ReadAllBytes(assembly.Location);
        var symbols = new FileInfo(Path.ChangeExtension(assembly.Location, ".pdb"));
        if (symbols is { Exists: true, Length: <= MaxSymbolBytes })
            files[$"{name}.pdb"] = File.ReadAllBytes(symbols.FullName); // lines in stack traces
    }

    // One that is not here may never be asked for; the rank says which one it misses.
    private static Assembly? TryLoad(AssemblyLoadContext context, AssemblyName reference)
    {
        try
        {
            return context.LoadFromAssemblyName(reference);
        }
        catch (Exception e) when (e is IOException or BadImageFormatException)
        {
            return null;
        }
    }

    private static bool IsOurs(string name) =>
        name is "TorchSharp" or "Microsoft.ML" || name.StartsWith("Microsoft.ML.", StringComparison.Ordinal) || name.StartsWith("MLDistributed.", StringComparison.Ordinal);

    private static bool IsFramework(Assembly assembly)
    {
        var folder = Path.GetDirectoryName(assembly.Location) ?? "";
        // dotnet/shared/Microsoft.NETCore.App/10.0.1: so are ASP.NET Core and others beside it.
        var shared = Path.GetDirectoryName(Path.GetDirectoryName(s_runtime)) ?? "";
        if (Path.GetFileName(shared) == "shared" && folder.StartsWith(shared + Path.DirectorySeparatorChar, StringComparison.Ordinal))
            return true;
        return folder == s_runtime && s_frameworkKeys.Contains(Convert.ToHexString(assembly.GetName().GetPublicKeyToken() ?? []));
    }
}

using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Text.RegularExpressions;

namespace Packages.Tests;

/// <summary>Arrows only point down: what assemblies reference is what the table in docs/architecture.md allows them.</summary>
[TestClass]
public sealed partial class LayerTests
{
    // What a layer must not know, whatever else it uses, unless its row names it.
    private static readonly (string Word, string Assemblies)[] s_guarded =
        [("TorchSharp", "TorchSharp"), ("ASP.NET Core", "Microsoft.AspNetCore"), ("Microsoft.ML", "Microsoft.ML."), ("EF Core", "Microsoft.EntityFrameworkCore")];

    public static IEnumerable<object[]> Rows => Layers().Select(l => new object[] { l.Assembly });

    [TestMethod]
    [DynamicData(nameof(Rows))]
    public void References_Assembly_AreWhatTheArchitectureAllows(string assembly)
    {
        var layers = Layers();
        var layer = layers.Single(l => l.Assembly == assembly);
        var ours = layers.ToDictionary(l => l.Assembly, l => l.Folder["src/".Length..], StringComparer.Ordinal);
        var allowed = Closure(layer, layers);

        foreach (var reference in References(assembly))
        {
            if (ours.TryGetValue(reference, out var name))
                Assert.Contains(name, allowed.Ours, $"{assembly} references {reference}");
            else if (s_guarded.Where(g => reference.StartsWith(g.Assemblies, StringComparison.Ordinal)).Select(g => g.Word).FirstOrDefault() is { } word)
                Assert.IsTrue(allowed.Text.Contains(word, StringComparison.Ordinal), $"{assembly} references {reference}, and \"may reference\" does not name {word}");
        }
    }

    [TestMethod]
    public void Layers_OfTheTable_AreAllThatHaveCode() =>
        CollectionAssert.AreEquivalent(
            Directory.GetDirectories(Path.Combine(Feed.Repository, "src")).Where(d => Directory.EnumerateFiles(d, "*.cs").Any() || Directory.EnumerateDirectories(d).Any(s => Path.GetFileName(s) is not ("buildTransitive" or "bin" or "obj"))).Select(d => "src/" + Path.GetFileName(d)).ToArray(),
            Layers().Select(l => l.Folder).ToArray());

    // A layer also sees what the layers that it may reference see of ours.
    private static (HashSet<string> Ours, string Text) Closure(Layer layer, IReadOnlyList<Layer> layers)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var open = new Queue<Layer>([layer]);
        while (open.TryDequeue(out var next))
            foreach (var below in layers.Where(l => Regex.IsMatch(next.MayReference, $@"(^|[\s,]){Regex.Escape(l.Folder["src/".Length..])}([\s,]|$)", RegexOptions.None, TimeSpan.FromSeconds(1))))
                if (seen.Add(below.Folder["src/".Length..]))
                    open.Enqueue(below);
        return (seen, layer.MayReference);
    }

    private static List<Layer> Layers() =>
        [.. TableRow().Matches(File.ReadAllText(Path.Combine(Feed.Repository, "docs", "architecture.md")))
            .Select(m => new Layer(m.Groups[1].Value, m.Groups[2].Value, m.Groups[3].Value))];

    private static List<string> References(string assembly)
    {
        var path = Directory.GetFiles(Path.Combine(Feed.Repository, "artifacts", "obj"), $"{assembly}.dll", SearchOption.AllDirectories)
            .Where(f => !f.Contains($"{Path.DirectorySeparatorChar}ref", StringComparison.Ordinal)).MaxBy(File.GetLastWriteTimeUtc)!;
        using var file = new PEReader(File.OpenRead(path));
        var metadata = file.GetMetadataReader();
        return [.. metadata.AssemblyReferences.Select(h => metadata.GetString(metadata.GetAssemblyReference(h).Name))];
    }

    [GeneratedRegex(@"^\| (src/\S+) \| (\S+) \| ([^|]+) \|", RegexOptions.Multiline, matchTimeoutMilliseconds: 1000)]
    private static partial Regex TableRow();

    private sealed record Layer(string Folder, string Assembly, string MayReference);
}

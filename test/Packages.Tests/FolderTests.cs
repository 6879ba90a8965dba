using System.Text.RegularExpressions;

namespace Packages.Tests;

/// <summary>The folders of src/Training import one another in one direction: what reads as one idea can be read, and changed, alone.</summary>
[TestClass]
public sealed class FolderTests
{
    private static readonly string s_source = Path.Combine(Feed.Repository, "src", "Training");

    [TestMethod]
    public void Training_Folders_HaveNoCircle()
    {
        var uses = Directory.GetFiles(s_source, "*.cs", SearchOption.AllDirectories).Where(f => Part(f) is not ("bin" or "obj"))
            .GroupBy(Part).ToDictionary(g => g.Key, g => g.SelectMany(Uses).Where(u => u != g.Key).ToHashSet(StringComparer.Ordinal), StringComparer.Ordinal);
        Assert.IsGreaterThan(5, uses.Count);
        while (uses.FirstOrDefault(u => u.Value.Count == 0).Key is { } free)
        {
            uses.Remove(free);
            foreach (var others in uses.Values)
                others.Remove(free);
        }

        Assert.IsEmpty(uses, "In a circle, or above one: " + string.Join("; ", uses.Select(u => $"{u.Key} uses {string.Join(", ", u.Value.Order(StringComparer.Ordinal))}")));
    }

    // A file beside the folders is a part of its own: what folders need lies there, and what needs them.
    private static string Part(string file) => Path.GetRelativePath(s_source, file).Split('/')[0];

    private static IEnumerable<string> Uses(string file)
    {
        var text = File.ReadAllText(file);
        foreach (Match use in Regex.Matches(text, @"(?<=\bMLDistributed\.Training\.)[A-Z]\w*", RegexOptions.None, TimeSpan.FromSeconds(1)))
            yield return use.Value;
        foreach (var root in Directory.GetFiles(s_source, "*.cs").Select(Path.GetFileName))
        {
            if (Regex.IsMatch(text, $@"\b{Path.GetFileNameWithoutExtension(root)}\b", RegexOptions.None, TimeSpan.FromSeconds(1)))
                yield return root!;
        }
    }
}

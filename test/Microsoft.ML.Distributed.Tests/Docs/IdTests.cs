using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Text;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>No text from outside becomes part of a path: what makes paths, or keeps and moves files, takes ids as parsed types.</summary>
[TestClass]
public sealed partial class IdTests
{
    [TestMethod]
    public void Type_ThatMakesPathsOrKeepsFiles_TakesNoIdAsAText()
    {
        var looked = new List<string>();
        var offenders = new List<string>();
        foreach (var type in Sources().SelectMany(Types))
        {
            looked.Add(type.Identifier.Text);
            offenders.AddRange(type.DescendantNodes().OfType<ParameterSyntax>().Where(IsIdAsText).Select(p => $"{type.Identifier.Text}: {p}"));
        }

        foreach (var known in new[] { "BlobStore", "DatasetStore", "PartialUpload", "Ownership", "JobTable", "JobArchive", "WorkFolder", "DatasetCache", "BlobTransfer", "CommitStore", "ArtifactDownload", "BlobDownload" })
            Assert.Contains(known, looked);
        Assert.IsEmpty(offenders, string.Join('\n', offenders));
    }

    private static IEnumerable<SyntaxNode> Sources() => Directory.GetFiles(Path.Combine(SnippetTests.Repository, "src"), "*.cs", SearchOption.AllDirectories)
        .Where(path => !path.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}", StringComparison.Ordinal))
        .Select(path => CSharpSyntaxTree.ParseText(SourceText.From(File.ReadAllText(path))).GetRoot());

    private static IEnumerable<TypeDeclarationSyntax> Types(SyntaxNode source) => source.DescendantNodes().OfType<TypeDeclarationSyntax>()
        .Where(t => Keepers().IsMatch(t.Identifier.Text) || t.DescendantNodes().OfType<InvocationExpressionSyntax>().Any(i => PathMakers().IsMatch(i.Expression.ToString())));

    private static bool IsIdAsText(ParameterSyntax parameter) => parameter.Type?.ToString() is "string" or "string?" && Ids().IsMatch(parameter.Identifier.Text);

    [GeneratedRegex(@"(Store|Cache|Transfer|Upload|Download|Files|Archive|JobTable|Ownership)$", RegexOptions.None, 1000)]
    private static partial Regex Keepers();

    [GeneratedRegex(@"\bPath\.(Combine|Join)$", RegexOptions.None, 1000)]
    private static partial Regex PathMakers();

    // That of a request is its client's own word, and compared within its tenant alone.
    [GeneratedRegex(@"^id$|(?<!request)Id$", RegexOptions.None, 1000)]
    private static partial Regex Ids();
}

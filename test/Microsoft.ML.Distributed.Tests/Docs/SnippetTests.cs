using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>What README and docs show compiles, against what an app references.</summary>
[TestClass]
public sealed partial class SnippetTests
{
    private const string Usings = """
        global using System; global using System.Collections.Generic; global using System.IO; global using System.Linq; global using System.Threading; global using System.Threading.Tasks;
        global using Microsoft.ML; global using Microsoft.ML.Data; global using Microsoft.ML.Distributed;
        """;

    // A module of the reader's, where a snippet has none.
    private const string ReadersModule = """
        using TorchSharp;
        public sealed record MyNetOptions(int Inputs, int Classes);
        public sealed class MyNet(MyNetOptions o) : torch.nn.Module<torch.Tensor, torch.Tensor>($"{o}") { public override torch.Tensor forward(torch.Tensor x) => x; }
        """;

    // What snippets use and leave to the reader's app.
    private static readonly Dictionary<string, string> s_readers = new()
    {
        ["ml"] = "var ml = new MLContext();",
        ["trainingData"] = "IDataView trainingData = null!;",
        ["cluster"] = "TrainingCluster cluster = null!;",
        ["rows"] = "IDataView rows = null!;",
        ["jobId"] = "var jobId = \"\";",
        ["key"] = "var key = \"\";",
        ["cancellation"] = "var cancellation = new CancellationTokenSource();",
    };

    public static IEnumerable<object[]> Snippets =>
        from page in new[] { "", "docs", Path.Combine("eng", "packages") }.SelectMany(f => Directory.GetFiles(Path.Combine(Repository, f), "*.md"))
        from snippet in Fence().Matches(File.ReadAllText(page)).Select((m, i) => (Code: m.Groups[1].Value, Number: i + 1))
        select new object[] { $"{Path.GetFileName(page)}, {snippet.Number}", snippet.Code };

    internal static string Repository
    {
        get
        {
            var folder = AppContext.BaseDirectory;
            while (!File.Exists(Path.Combine(folder, "MLDistributed.sln")))
                folder = Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(folder))!;
            return folder;
        }
    }

    [TestMethod]
    [DynamicData(nameof(Snippets))]
    public void Snippet_OfTheDocs_Compiles(string place, string code)
    {
        var errors = Errors(code);

        Assert.IsEmpty(errors, $"{place}: {string.Join("; ", errors)}");
    }

    [TestMethod]
    public void Errors_SaveOnnxOfATransformer_AreFound() =>
        Assert.Contains("LastTransformer", string.Join(' ', Errors("ITransformer model = null!;\nmodel.LastTransformer.Model.SaveOnnx(\"a.onnx\");")));

    private static IReadOnlyList<string> Errors(string code)
    {
        var snippet = (CompilationUnitSyntax)CSharpSyntaxTree.ParseText(code).GetRoot();
        var declared = snippet.DescendantNodes().OfType<VariableDeclaratorSyntax>().Select(v => v.Identifier.Text).ToHashSet();
        var readers = CSharpSyntaxTree.ParseText(string.Concat(s_readers.Where(r => !declared.Contains(r.Key)).Select(r => r.Value))).GetRoot().ChildNodes().OfType<MemberDeclarationSyntax>();
        var hasModule = snippet.DescendantNodes().OfType<TypeDeclarationSyntax>().Any(t => t.Identifier.Text == "MyNet");
        var program = snippet.WithMembers(snippet.Members.InsertRange(0, readers));
        var compilation = CSharpCompilation.Create("snippet",
            [CSharpSyntaxTree.ParseText(Usings), CSharpSyntaxTree.ParseText(hasModule ? "" : ReadersModule), CSharpSyntaxTree.Create(program)],
            ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator).Select(p => MetadataReference.CreateFromFile(p)),
            new CSharpCompilationOptions(OutputKind.ConsoleApplication, nullableContextOptions: NullableContextOptions.Enable));
        return [.. compilation.GetDiagnostics().Where(d => d.Severity == DiagnosticSeverity.Error).Select(d => d.ToString())];
    }

    [GeneratedRegex("^```csharp\n(.*?)^```", RegexOptions.Multiline | RegexOptions.Singleline, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Fence();
}

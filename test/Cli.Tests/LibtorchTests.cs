using System.Text.Json;
using MLDistributed.Cli;
using MLDistributed.Training.Native;

namespace Cli.Tests;

/// <summary>mldist libtorch, of a folder that is named.</summary>
[TestClass]
public sealed class LibtorchTests
{
    private readonly string _folder = Directory.CreateTempSubdirectory("mldist-test-").FullName;
    private readonly string? _before = Environment.GetEnvironmentVariable(LibtorchFolder.Variable);

    public LibtorchTests() => Environment.SetEnvironmentVariable(LibtorchFolder.Variable, _folder);

    [TestCleanup]
    public void Clean()
    {
        Environment.SetEnvironmentVariable(LibtorchFolder.Variable, _before);
        Directory.Delete(_folder, recursive: true);
    }

    [TestMethod]
    public async Task Libtorch_FolderThatIsNamed_IsPrinted()
    {
        await File.WriteAllTextAsync(Path.Combine(_folder, LibtorchFolder.MainFile), "");

        Assert.AreEqual((0, _folder + Environment.NewLine, ""), await Mldist.RunAsync("libtorch"));
        using var document = JsonDocument.Parse((await Mldist.RunAsync("libtorch", "--json")).Output);
        var said = document.RootElement;
        Assert.AreEqual((_folder, LibtorchFolder.PackageVersion, false), (said.GetProperty("folder").GetString(), said.GetProperty("version").GetString(), said.GetProperty("isFetched").GetBoolean()));
    }

    [TestMethod]
    public async Task Libtorch_FolderWithoutIt_IsNamed()
    {
        var (code, output, error) = await Mldist.RunAsync("libtorch");

        Assert.AreEqual((ExitCode.Failure, ""), (code, output));
        Assert.AreEqual($"{LibtorchFolder.Variable} is \"{_folder}\", expected a folder with {LibtorchFolder.MainFile} of libtorch {LibtorchFolder.PackageVersion}. Correct the path, or unset the variable to have libtorch searched.", error.Trim());
    }
}

using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class RunDirectoryTests
{
    private readonly TempFolder _temp = new();

    [TestCleanup]
    public void Clean() => _temp.Dispose();

    [TestMethod]
    [OSCondition(ConditionMode.Exclude, OperatingSystems.Windows)]
    public void Create_OnUnix_IsPrivate()
    {
        using var run = RunDirectory.Create(_temp.Path);

        Assert.AreEqual(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, new DirectoryInfo(run.Path).UnixFileMode);
    }

    [TestMethod]
    public void Create_WhereNothingCanBeMade_NamesTheTempFolderAndTheRemedy()
    {
        File.WriteAllText(_temp.File("no-folder"), "");

        var e = Assert.ThrowsExactly<IOException>(() => RunDirectory.Create(_temp.File("no-folder")));

        StringAssert.StartsWith(e.Message, $"Temp folder \"{_temp.File("no-folder")}\" cannot be used (");
        StringAssert.Contains(e.Message, "TMPDIR");
    }

    [TestMethod]
    public void Dispose_WithAnotherHolder_LeavesTheFolderToIt()
    {
        var first = RunDirectory.Create(_temp.Path);
        var second = RunDirectory.Open(first.Path);
        File.WriteAllText(Path.Combine(first.Path, "c.sock"), "");
        Directory.CreateDirectory(Path.Combine(first.Path, "worker", "deep"));

        first.Dispose();
        Assert.IsTrue(Directory.Exists(second.Path));

        second.Dispose();
        Assert.IsFalse(Directory.Exists(second.Path));
    }

    [TestMethod]
    public void Open_AfterRemoval_Throws()
    {
        var run = RunDirectory.Create(_temp.Path);
        run.Dispose();

        Assert.Throws<IOException>(() => RunDirectory.Open(run.Path));
    }

    [TestMethod]
    public void Create_WithFoldersOfTheDead_RemovesThemAndNoOthers()
    {
        using var held = RunDirectory.Create(_temp.Path);
        var dead = Make("mldist-dead", ".lock");
        var half = Make("mldist-half", ".lock.new");
        var old = Make("mldist-old", ".lock.new");
        var foreign = Make("other", ".lock");
        Directory.SetLastWriteTimeUtc(old, new DateTime(2020, 1, 1, 0, 0, 0, DateTimeKind.Utc));

        using var run = RunDirectory.Create(_temp.Path);

        Assert.IsFalse(Directory.Exists(dead), "nobody held it");
        Assert.IsFalse(Directory.Exists(old), "its maker died long ago");
        Assert.IsTrue(Directory.Exists(half), "it may be in the making");
        Assert.IsTrue(Directory.Exists(foreign), "it has another name");
        Assert.IsTrue(Directory.Exists(held.Path), "it is held");
    }

    [TestMethod]
    public void Create_ByManyAtOnce_NeverLosesAFolder()
    {
        Parallel.For(0, 200, new ParallelOptions { MaxDegreeOfParallelism = 8 }, i =>
        {
            using var run = RunDirectory.Create(_temp.Path);
            using var child = RunDirectory.Open(run.Path);
            File.WriteAllText(Path.Combine(run.Path, "file"), "");
        });

        Assert.IsEmpty(Directory.GetDirectories(_temp.Path));
    }

    private string Make(string name, string file)
    {
        var path = Directory.CreateDirectory(_temp.File(name)).FullName;
        File.WriteAllText(Path.Combine(path, file), "");
        return path;
    }
}

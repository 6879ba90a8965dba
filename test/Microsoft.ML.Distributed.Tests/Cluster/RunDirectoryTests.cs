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

    [TestMethod]
    [DataRow(true, DisplayName = "the folder")]
    [DataRow(false, DisplayName = "its lock")]
    public void Restore_AfterACleaner_MakesItAgainAndHoldsIt(bool folder)
    {
        using var run = RunDirectory.Create(_temp.Path);
        if (folder)
            Directory.Delete(run.Path, recursive: true);
        else
            File.Delete(Path.Combine(run.Path, ".lock"));

        run.Restore();

        using (var other = RunDirectory.Create(_temp.Path))
            Assert.IsTrue(Directory.Exists(run.Path), "another's start leaves it alone");
        run.Dispose();
        Assert.IsFalse(Directory.Exists(run.Path));
    }

    [TestMethod]
    [OSCondition(OperatingSystems.Linux)]
    public void Create_WithAHeldFolderWhoseLockFileIsGone_LeavesItAlone()
    {
        using var run = RunDirectory.Create(_temp.Path);
        File.Delete(Path.Combine(run.Path, ".lock"));
        Directory.SetLastWriteTimeUtc(run.Path, new DateTime(2020, 1, 1, 0, 0, 0, DateTimeKind.Utc));

        using var other = RunDirectory.Create(_temp.Path);

        Assert.IsTrue(Directory.Exists(run.Path));
    }

    [TestMethod]
    [OSCondition(OperatingSystems.Linux)]
    public async Task Folder_WhileHeld_CannotBeLockedByACleaner()
    {
        var run = RunDirectory.Create(_temp.Path);
        var second = RunDirectory.Open(run.Path);

        Assert.AreEqual(1, await LockAsync(run.Path), "systemd-tmpfiles leaves alone what it cannot lock");
        second.Dispose();
        Assert.AreEqual(1, await LockAsync(run.Path));
        run.Restore();
        Assert.AreEqual(1, await LockAsync(run.Path));
        run.Dispose();
        Directory.CreateDirectory(run.Path);
        Assert.AreEqual(0, await LockAsync(run.Path));

        static async Task<int> LockAsync(string path)
        {
            using var flock = System.Diagnostics.Process.Start("flock", ["--nonblock", "--exclusive", path, "true"]);
            await flock.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(30));
            return flock.ExitCode;
        }
    }

    [TestMethod]
    [OSCondition(ConditionMode.Exclude, OperatingSystems.Windows)]
    public void SocketPath_InALongFolder_IsInAShortOneThatGoesWithIt()
    {
        var parent = Directory.CreateDirectory(_temp.File(new string('漢', 30))).FullName;
        var run = RunDirectory.Create(parent);
        var socket = run.SocketPath("c.sock");
        var second = RunDirectory.Open(run.Path);
        File.WriteAllText(socket, "");

        Assert.IsTrue(UnixSocketAddress.Fits(socket));
        Assert.AreEqual(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, new DirectoryInfo(Path.GetDirectoryName(socket)!).UnixFileMode);
        run.Dispose();
        Assert.IsTrue(File.Exists(socket), "the other holder needs it");
        second.Dispose();
        Assert.IsFalse(Directory.Exists(Path.GetDirectoryName(socket)));
        Assert.IsFalse(Directory.Exists(run.Path));
    }

    private string Make(string name, string file)
    {
        var path = Directory.CreateDirectory(_temp.File(name)).FullName;
        File.WriteAllText(Path.Combine(path, file), "");
        return path;
    }
}

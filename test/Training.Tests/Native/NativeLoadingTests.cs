using MLDistributed.Training.Native;
using TorchSharp;

namespace Training.Tests.Native;

[TestClass]
public sealed class NativeLoadingTests
{
    [TestMethod]
    public void Weaken_RealLibrary_MarksOneEntryAndNothingElse()
    {
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("The library is an ELF file on Linux only.");
        var original = File.ReadAllBytes(NativeLoading.FindFile()!);
        var weakened = original.ToArray();
        Assert.AreEqual(1, ElfVersionNeeds.Weaken(weakened, NativeLoading.NeededVersion));
        var changed = Enumerable.Range(0, original.Length).Where(i => original[i] != weakened[i]).ToArray();
        Assert.HasCount(1, changed);
        Assert.AreEqual(2, original[changed[0]] ^ weakened[changed[0]]);
        Assert.AreEqual(0, ElfVersionNeeds.Weaken(weakened, "GLIBCXX_9.9.9"));
    }

    [TestMethod]
    public void Weaken_NotALibrary_Throws() =>
        Assert.ThrowsExactly<FormatException>(() => ElfVersionNeeds.Weaken(new byte[100], NativeLoading.NeededVersion));

    [TestMethod]
    public void Weaken_CutOffLibrary_Throws()
    {
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("The library is an ELF file on Linux only.");
        var half = File.ReadAllBytes(NativeLoading.FindFile()!)[..4096];
        Assert.ThrowsExactly<FormatException>(() => ElfVersionNeeds.Weaken(half, NativeLoading.NeededVersion));
    }

    [TestMethod]
    public void Preload_AnySystem_LibtorchAdds()
    {
        MLDistributed.Training.RankTraining.Preload();
        using var sum = torch.ones(3).sum();
        Assert.AreEqual(3f, sum.ToSingle());
    }

    [TestMethod]
    public unsafe void Wrap_OurMemory_IsSeenBothWays()
    {
        var memory = stackalloc float[] { 1, 2, 3 };
        using var tensor = TorchMemory.Wrap(memory, 3);
        using (torch.no_grad())
            tensor.mul_(2);
        Assert.AreEqual(6f, memory[2]);
        Assert.IsTrue(TorchMemory.Data(tensor) == memory);
    }
}

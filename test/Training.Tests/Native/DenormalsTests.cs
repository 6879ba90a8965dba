using System.Runtime.InteropServices;
using MLDistributed.Training;
using MLDistributed.Training.Native;
using static TorchSharp.torch;

namespace Training.Tests.Native;

[TestClass]
public sealed class DenormalsTests
{
    [TestMethod]
    public void Flush_OnAThread_DenormalsCountAsZeroThereAlone()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
            Assert.Inconclusive("Denormals are flushed on x64 Linux only.");
        RankTraining.Preload();
        var (ours, theirs) = (float.NaN, float.NaN);
        var thread = new Thread(() =>
        {
            Denormals.Flush();
            ours = Tenth(1e-38f);
            using var scope = NewDisposeScope();
            theirs = full(1000, 1e-38f).mul(0.1f).sum().item<float>();
        });
        thread.Start();
        thread.Join();
        Assert.AreEqual(0f, ours);
        Assert.AreEqual(0f, theirs);
        Assert.AreNotEqual(0f, Tenth(1e-38f), "Another thread is not to change.");
    }

    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
    private static float Tenth(float value) => value * 0.1f;
}

using MLDistributed.Training;

namespace Training.Tests;

[TestClass]
public sealed class Libtorch
{
    // Before anything of TorchSharp: its own search would copy half a gigabyte of libraries around, and fail.
    [AssemblyInitialize]
    public static void Load(TestContext context) => RankTraining.Preload();
}

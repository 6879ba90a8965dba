using MLDistributed.Protocol;
using MLDistributed.Training.Models;
using MLDistributed.Training.Optimization;
using TorchSharp;
using Training.Tests.Loop;
using static TorchSharp.torch;

namespace Training.Tests.Optimization;

[TestClass]
public sealed unsafe class OptimizationTests
{
    private const int Length = 37;

    [TestMethod]
    [DataRow(ScheduleKind.Constant, 0.0, 0L, 1.0), DataRow(ScheduleKind.Constant, 0.0, 99L, 1.0)]
    [DataRow(ScheduleKind.Constant, 0.1, 0L, 1.0 / 11), DataRow(ScheduleKind.Constant, 0.1, 9L, 10.0 / 11), DataRow(ScheduleKind.Constant, 0.1, 10L, 1.0)]
    [DataRow(ScheduleKind.Cosine, 0.0, 0L, 1.0), DataRow(ScheduleKind.Cosine, 0.0, 50L, 0.6), DataRow(ScheduleKind.Cosine, 0.0, 100L, 0.2)]
    [DataRow(ScheduleKind.Cosine, 0.2, 20L, 1.0), DataRow(ScheduleKind.Cosine, 0.2, 60L, 0.6), DataRow(ScheduleKind.Cosine, 0.2, 100L, 0.2)]
    public void LearningRate_Table(ScheduleKind kind, double warmup, long step, double expected)
    {
        var schedule = new ScheduleSpec { Kind = kind, WarmupFraction = warmup, FinalFraction = 0.2 };
        Assert.AreEqual(3 * expected, LearningRate.At(schedule, 3, step, 100), 1e-12);
    }

    [TestMethod, DataRow(0L, 1e-4), DataRow(50L, 1e-2), DataRow(100L, 1.0)]
    public void LearningRate_Exponential_RisesByTheSameFactorInEachStep(long step, double expected)
    {
        var schedule = new ScheduleSpec { Kind = ScheduleKind.Exponential, InitialFraction = 1e-4 };
        Assert.AreEqual(3 * expected, LearningRate.At(schedule, 3, step, 101), 1e-12);
    }

    [TestMethod]
    public void LearningRate_NoSchedule_IsConstant() => Assert.AreEqual(0.5, LearningRate.At(null, 0.5, 7, 10));

    [TestMethod, DataRow(0.0, false, 0.0), DataRow(0.9, false, 0.01), DataRow(0.9, true, 0.01)]
    public void Sgd_TenSteps_IsLibtorchs(double momentum, bool nesterov, double decay) => Compare(
        new OptimizerSpec { Sgd = new SgdSpec { Momentum = momentum, Nesterov = nesterov }, WeightDecay = decay },
        p => optim.SGD([p], 0.05, momentum, weight_decay: decay, nesterov: nesterov));

    [TestMethod, DataRow(0.0), DataRow(0.1)]
    public void AdamW_TenSteps_IsLibtorchs(double decay) => Compare(
        new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.99, Epsilon = 1e-8 }, WeightDecay = decay },
        p => optim.AdamW([p], 0.05, 0.9, 0.99, 1e-8, decay));

    [TestMethod, DataRow(0.0), DataRow(0.1)]
    public void Adam_TenSteps_IsLibtorchs(double decay) => Compare(
        new OptimizerSpec { Adam = new AdamSpec { Beta1 = 0.9, Beta2 = 0.99, Epsilon = 1e-8 }, WeightDecay = decay },
        p => optim.Adam([p], 0.05, 0.9, 0.99, 1e-8, decay));

    [TestMethod]
    public void Update_InAnyPieces_GivesTheSameBits()
    {
        foreach (var spec in new[]
        {
            new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.99, Epsilon = 1e-8 }, WeightDecay = 0.1 },
            new OptimizerSpec { Adam = new AdamSpec { Beta1 = 0.9, Beta2 = 0.99, Epsilon = 1e-8 }, WeightDecay = 0.1 },
            new OptimizerSpec { Sgd = new SgdSpec { Momentum = 0.9, Nesterov = true }, WeightDecay = 0.1 },
            new OptimizerSpec { Sgd = new SgdSpec(), AveragingDecay = 0.5 },
        })
            CollectionAssert.AreEqual(Steps(spec, [Length]), Steps(spec, [3, 1, 16, 9, 8]));
    }

    [TestMethod, DataRow(0.5), DataRow(0.9999)]
    public void Update_WithAveraging_KeepsTheAverageAndLeavesTheStepsAsTheyAre(double decay)
    {
        var spec = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.99, Epsilon = 1e-8 }, WeightDecay = 0.1, AveragingDecay = decay };
        var plain = spec.Clone();
        plain.AveragingDecay = 0;
        var expected = Steps(plain, [Length], 1);
        for (var step = 2; step <= 10; step++)
        {
            // Until the average is as long as asked for, over the last tenth of the steps.
            var rest = Math.Max(1 - decay, 10.0 / (step + 9));
            expected = [.. expected.Zip(Steps(plain, [Length], step), (average, p) => (float)(average + rest * (p - average)))];
        }

        var found = Steps(spec, [Length]);

        CollectionAssert.AreEqual(Steps(plain, [Length]), found[..Length]);
        for (var i = 0; i < Length; i++)
            Assert.AreEqual(expected[i], found[Length + i], 1e-6f);
    }

    [TestMethod, DataRow(0.1), DataRow(0.5)]
    public void Dropout_InAnyRowsAndColumns_IsAFunctionOfThePosition(double probability)
    {
        const int columns = 77;
        var whole = new float[100 * columns];
        var part = new float[30 * columns];
        fixed (float* w = whole, p = part)
        {
            DropoutMask.Fill(w, 3, 8, 1, 0, 100, columns, probability);
            DropoutMask.Fill(p, 3, 8, 1, 50, 30, columns, probability);
        }

        CollectionAssert.AreEqual(whole.AsSpan(50 * columns, 30 * columns).ToArray(), part);
        Assert.AreEqual(probability, whole.Count(x => x == 0) / (double)whole.Length, 0.03);
        Assert.IsTrue(whole.All(x => x == 0 || x == (float)(1 / (1 - probability))));
        var wide = new float[100];
        var narrow = new float[80];
        fixed (float* a = wide, b = narrow)
        {
            DropoutMask.Fill(a, 3, 8, 1, 0, 1, 100, probability);
            DropoutMask.Fill(b, 3, 8, 1, 0, 1, 77, probability);
        }

        CollectionAssert.AreEqual(wide[..77], narrow[..77]);
    }

    private static void Compare(OptimizerSpec spec, Func<TorchSharp.Modules.Parameter, optim.Optimizer> theirs)
    {
        using var scope = NewDisposeScope();
        var parameter = new TorchSharp.Modules.Parameter(tensor(Enumerable.Range(0, Length).Select(Start).ToArray()));
        using var optimizer = theirs(parameter);
        for (var step = 1; step <= 10; step++)
        {
            parameter.grad = tensor(Enumerable.Range(0, Length).Select(i => Gradient(i, step)).ToArray());
            optimizer.step();
        }

        var ours = Steps(spec, [Length]);
        for (var i = 0; i < Length; i++)
            Assert.AreEqual(parameter[i].ToSingle(), ours[i], 1e-5f);
    }

    // The parameters, and the average where there is one.
    private static float[] Steps(OptimizerSpec spec, int[] pieces, int steps = 10)
    {
        using var segment = Cluster.Memory(Length, FlatOptimizer.StateNames(spec).Count);
        var optimizer = FlatOptimizer.Create(spec, segment);
        var parameters = new Span<float>(segment.Parameters, Length);
        for (var i = 0; i < Length; i++)
            parameters[i] = Start(i);
        for (var step = 1; step <= steps; step++)
        {
            var gradients = Enumerable.Range(0, Length).Select(i => Gradient(i, step)).ToArray();
            optimizer.Begin(0.05, step);
            fixed (float* g = gradients)
            {
                var start = 0;
                foreach (var count in pieces)
                {
                    optimizer.Update(start, g + start, count, new FlatTensor("all", [Length], 0, Decays: true));
                    start += count;
                }
            }
        }

        var average = FlatOptimizer.Average(spec, segment);
        return average is null ? parameters.ToArray() : [.. parameters, .. new Span<float>(average, Length)];
    }

    private static float Start(int i) => MathF.Sin(i);

    private static float Gradient(int i, int step) => MathF.Cos(i * step) * 0.3f;
}

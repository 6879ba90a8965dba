using MLDistributed.Protocol;
using MLDistributed.Training.Models;
using Training.Tests.Loop;
using static TorchSharp.torch;

namespace Training.Tests.Models;

/// <summary>Beside the definitions, in double precision, and by what networks learn to put out.</summary>
[TestClass]
public sealed class LossesTests
{
    private static readonly float[] s_logits = [-30, -3, -0.5f, 0, 0.25f, 2, 30];

    [TestMethod]
    [DataRow(0.5, false), DataRow(2.0, false), DataRow(2.0, true)]
    public void Sum_BinaryFocal_CountsRightRowsLess(double gamma, bool isWeighted)
    {
        var labels = s_logits.Select((_, i) => (float)(i % 2)).ToArray();
        var weights = s_logits.Select((_, i) => isWeighted ? 1f + i : 1f).ToArray();
        var spec = Cluster.Spec(s => (s.Task, s.Loss) = (MlTask.Binary, Focal(gamma)));
        var expected = s_logits.Select((logit, i) => weights[i] * FocalOf(Math.Log(1 + Math.Exp(labels[i] > 0 ? -(double)logit : logit)), gamma)).Sum();

        AssertLossAndFiniteGradient(spec, s_logits, 1, tensor(labels), isWeighted ? tensor(weights) : null, expected);
    }

    [TestMethod]
    [DataRow(0.5, false), DataRow(2.0, true)]
    public void Sum_MulticlassFocal_CountsRightRowsLess(double gamma, bool isWeighted)
    {
        float[] logits = [5, -40, 1, 0, 0, 0, -1, 2, 3];
        long[] labels = [0, 1, 0];
        float[] weights = isWeighted ? [1, 2, 3] : [1, 1, 1];
        var spec = Cluster.Spec(s => s.Loss = Focal(gamma));
        var expected = labels.Select((label, row) => weights[row] * FocalOf(Math.Log(logits[(row * 3)..(row * 3 + 3)].Sum(x => Math.Exp(x))) - logits[row * 3 + label], gamma)).Sum();

        AssertLossAndFiniteGradient(spec, logits, 3, tensor(labels), isWeighted ? tensor(weights) : null, expected);
    }

    [TestMethod, DataRow(false), DataRow(true)]
    public void Sum_Huber_IsSquaredNearAndLinearFar(bool isWeighted)
    {
        float[] errors = [-3, -0.5f, 0, 0.25f, 2];
        var weights = errors.Select((_, i) => isWeighted ? 1f + i : 1f).ToArray();
        var spec = Cluster.Spec(s => (s.Task, s.Loss) = (MlTask.Regression, new LossSpec { Huber = new HuberLossSpec { Delta = 0.5 } }));
        var expected = errors.Select((e, i) => weights[i] * (Math.Abs(e) <= 0.5 ? e * e / 2 : 0.5 * (Math.Abs(e) - 0.25))).Sum();

        AssertLossAndFiniteGradient(spec, errors, 1, zeros(errors.Length), isWeighted ? tensor(weights) : null, expected);
    }

    [TestMethod]
    public void Train_BinaryClassWeights_AreThoseOfTheClassesRows()
    {
        using var folder = new TempFolder();
        Func<int, float[]> features = row => [row % 7, row % 3, row % 11, 0, 1];
        Datasets.Write(folder["plain"], 5, 100, features, row => row % 5 == 0 ? 1 : 0);
        Datasets.Write(folder["weighted"], 5, 100, features, row => row % 5 == 0 ? 1 : 0, row => row % 5 == 0 ? 10 : 1);
        var spec = Cluster.Spec(s => (s.Task, s.Module.Mlp.OutputSize) = (MlTask.Binary, 1));
        var rows = Cluster.Train(spec, 2, folder["weighted"]).ShouldSucceed();
        spec.ClassWeights.Add([1, 10]);

        var classes = Cluster.Train(spec, 2, folder["plain"]).ShouldSucceed();

        CollectionAssert.AreEqual(rows.Losses, classes.Losses);
        CollectionAssert.AreEqual(rows.AllWeights(), classes.AllWeights());
    }

    [TestMethod, DataRow(0.1), DataRow(0.5), DataRow(0.9)]
    public void Train_QuantileLoss_LearnsTheQuantile(double level)
    {
        using var folder = new TempFolder();
        // No feature says anything: what is left is the bias.
        Datasets.Write(folder["data"], 5, 1000, _ => new float[5], row => row * 7 % 1000 / 1000f);

        var bias = Cluster.Train(Bias(new LossSpec { Quantile = new QuantileLossSpec { Level = level } }), 2, folder["data"]).ShouldSucceed().Tensors["layers.0.bias"][0];

        Assert.AreEqual(level, bias, 0.03);
    }

    [TestMethod]
    public void Train_HuberLoss_IsNotLedByWildLabels()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 5, 1000, _ => new float[5], row => row % 10 == 0 ? 100 : 0);

        var bias = Cluster.Train(Bias(new LossSpec { Huber = new HuberLossSpec { Delta = 1 } }), 2, folder["data"]).ShouldSucceed().Tensors["layers.0.bias"][0];

        // Nine rows pull down with what they are away, each tenth pulls up with 1; the mean is 10.
        Assert.AreEqual(1.0 / 9, bias, 0.03);
    }

    private static JobSpec Bias(LossSpec loss) => Cluster.Spec(s =>
    {
        (s.Task, s.Loss, s.Module.Mlp.OutputSize) = (MlTask.Regression, loss, 1);
        s.Module.Mlp.HiddenSizes.Clear();
        s.Schedule = new ScheduleSpec { Kind = ScheduleKind.Cosine };
        (s.GlobalBatchSize, s.Epochs) = (100, 40);
    });

    private static LossSpec Focal(double gamma) => new() { Focal = new FocalLossSpec { Gamma = gamma } };

    private static double FocalOf(double crossEntropy, double gamma) => Math.Pow(1 - Math.Exp(-crossEntropy), gamma) * crossEntropy;

    private static void AssertLossAndFiniteGradient(JobSpec spec, float[] outputs, int width, Tensor labels, Tensor? weights, double expected)
    {
        using var scope = NewDisposeScope();
        var values = tensor(outputs, requires_grad: true);
        var loss = Losses.Sum(spec, values.view(-1, width), labels, weights);
        loss.backward();

        Assert.AreEqual(expected, Losses.Number(loss), 1e-5 * Math.Abs(expected));
        Assert.IsTrue(values.grad!.isfinite().all().item<bool>(), "A gradient is not a number.");
    }
}

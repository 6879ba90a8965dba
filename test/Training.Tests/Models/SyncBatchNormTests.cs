using MLDistributed.Training.Models;
using Training.Tests.Loop;
using TorchSharp;
using static TorchSharp.torch;

namespace Training.Tests.Models;

[TestClass]
public sealed class SyncBatchNormTests
{
    [TestMethod]
    public void ForwardAndBackward_OneRank_AreLibtorchs()
    {
        using var collective = Cluster.Alone();
        using var scope = NewDisposeScope();
        random.manual_seed(1); // cubes of some numbers have no three digits in common
        var values = rand(9, 3).mul(3).add(100);
        var (weight, bias) = (tensor([1f, 0.5f, -2f]).requires_grad_(), tensor([0f, 1f, 2f]).requires_grad_());
        var (runningMean, runningVariance) = (new float[3], new float[] { 1, 1, 1 });
        var (weightGradient, biasGradient) = (zeros(3), zeros(3));
        var norm = new SyncBatchNorm(new HostStatistics(runningMean, runningVariance, CPU, collective)) { Weight = weightGradient, Bias = biasGradient };
        var ourInput = values.clone().requires_grad_();
        var ours = norm.Forward(ourInput.mul(2), weight, bias);
        ours.pow(3).sum().backward();
        norm.Backward(weight);

        var (theirMean, theirVariance) = (zeros(3), ones(3));
        var theirInput = values.clone().requires_grad_();
        var theirs = nn.functional.batch_norm(theirInput.mul(2), theirMean, theirVariance, weight, bias, training: true);
        theirs.pow(3).sum().backward();

        ShouldBeClose(theirs, ours);
        ShouldBeClose(theirInput.grad!, ourInput.grad!);
        ShouldBeClose(weight.grad!, weightGradient);
        ShouldBeClose(bias.grad!, biasGradient);
        ShouldBeClose(theirMean, tensor(runningMean));
        ShouldBeClose(theirVariance, tensor(runningVariance));
    }

    private static void ShouldBeClose(Tensor expected, Tensor actual) =>
        Assert.IsTrue(allclose(expected, actual, rtol: 1e-3, atol: 1e-3), $"{expected.str()}{actual.str()}");
}

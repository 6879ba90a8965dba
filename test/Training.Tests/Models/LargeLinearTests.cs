using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Models;
using Training.Tests.Loop;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Training.Tests.Models;

/// <summary>Layers whose gradients are multiplied straight into the flat ones.</summary>
[TestClass]
public sealed class LargeLinearTests
{
    private const int Rows = 9;

    [TestMethod]
    [DataRow(LayerNormalization.None, 600, 520, DisplayName = "all but the last are large")]
    [DataRow(LayerNormalization.None, 3, 700, DisplayName = "the second is large")]
    [DataRow(LayerNormalization.Layer, 600, 520)]
    [DataRow(LayerNormalization.Batch, 600, 520)]
    public void Backward_Twice_AddsWhatAutogradDoes(LayerNormalization normalization, int inputs, int hidden)
    {
        var spec = new MlpSpec { InputSize = inputs, HiddenSizes = { hidden, hidden }, OutputSize = 4, Normalization = normalization };
        var layout = MlpSource.LayoutOf(spec);
        using var scope = NewDisposeScope();
        random.manual_seed(1);
        var (parameters, gradients) = (randn(layout.ParameterLength).div(MathF.Sqrt(hidden)), zeros(layout.ParameterLength));
        using var collective = Cluster.Alone();
        using var module = new Mlp(spec, layout, 1, Rows, parameters, gradients, new StatisticsJoin(collective));
        var leaf = parameters.clone().requires_grad_();
        for (var pass = 0; pass < 2; pass++)
        {
            var features = randn(Rows, inputs);
            var outputs = module.Forward(new Batch(features, zeros(Rows), null, Rows, Rows, new Shard(0, Rows)), 0);
            module.Backward(outputs.square().sum(), Rows);
            var expected = ByAutograd(spec, layout, leaf, features);
            expected.square().sum().backward();
            ShouldBeClose(expected, outputs);
        }

        ShouldBeClose(leaf.grad!, gradients);
    }

    private static Tensor ByAutograd(MlpSpec spec, FlatLayout layout, Tensor parameters, Tensor x)
    {
        for (var i = 0; i < spec.HiddenSizes.Count; i++)
        {
            x = functional.linear(x, Part($"layers.{i}.weight"), Part($"layers.{i}.bias"));
            x = spec.Normalization switch
            {
                LayerNormalization.Layer => functional.layer_norm(x, [spec.HiddenSizes[i]], Part($"norms.{i}.weight"), Part($"norms.{i}.bias"), SyncBatchNorm.Epsilon),
                LayerNormalization.Batch => functional.batch_norm(x, zeros(spec.HiddenSizes[i]), ones(spec.HiddenSizes[i]), Part($"norms.{i}.weight"), Part($"norms.{i}.bias"), training: true, eps: SyncBatchNorm.Epsilon),
                _ => x,
            };
            x = functional.relu(x);
        }

        return functional.linear(x, Part($"layers.{spec.HiddenSizes.Count}.weight"), Part($"layers.{spec.HiddenSizes.Count}.bias"));

        Tensor Part(string name)
        {
            var part = layout.Parameters.Single(p => p.Name == name);
            return parameters.narrow(0, part.Start, part.Length).view(part.Shape);
        }
    }

    private static void ShouldBeClose(Tensor expected, Tensor actual) =>
        Assert.IsTrue(allclose(expected, actual, rtol: 1e-3, atol: 1e-3 * expected.abs().max().item<float>()), $"Off by {expected.sub(actual).abs().max().item<float>()} of {expected.abs().max().item<float>()}.");
}

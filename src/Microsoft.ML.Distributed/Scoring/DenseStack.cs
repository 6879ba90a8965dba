using System.Numerics.Tensors;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>
/// A managed forward pass of what <see cref="OnnxMlpWriter"/> writes and <see cref="OnnxMlpReader"/> takes. ML.NET scores row by
/// row, where a call into a runtime costs more than the arithmetic, and a runtime would run whatever a worker sends.
/// </summary>
internal sealed class DenseStack : IScorer
{
    private readonly float[]? _mean;
    private readonly float[]? _scale;
    private readonly DenseLayer[] _layers;
    private readonly ScoreHead _head;
    private readonly CategoryTables? _categories;

    internal DenseStack(float[]? mean, float[]? scale, DenseLayer[] layers, ScoreHead head, CategoryTables? categories = null) =>
        (_mean, _scale, _layers, _head, _categories) = (mean, scale, layers, head, categories);

    public int InputSize => _categories?.InputSize ?? _layers[0].Inputs;

    public int OutputSize => _layers[^1].Outputs;

    /// <summary>The network of a model.</summary>
    /// <param name="onnx">The bytes of its file.</param>
    /// <param name="spec">The job that trained it.</param>
    /// <exception cref="FormatException">The file is not what our writer writes for the job.</exception>
    public static DenseStack Read(byte[] onnx, JobSpec spec)
    {
        var tensors = OnnxMlpReader.Read(onnx, spec);
        var mlp = spec.Module.Mlp;
        var layers = Enumerable.Range(0, mlp.HiddenSizes.Count).Select(i => Hidden(i, mlp, tensors)).Append(Linear(mlp.HiddenSizes.Count, mlp, tensors)).ToArray();
        var mean = tensors.GetValueOrDefault(OnnxMlpWriter.FeatureMean);
        if (mlp.Steps is { } steps)
            layers[0] = new SteppedLayer(layers[0], steps.Slot, tensors[OnnxMlpWriter.StepStart], tensors[OnnxMlpWriter.StepScale], mean!, mlp.NumberSize + mlp.EmbeddedSize);
        return new DenseStack(mean, tensors.GetValueOrDefault(OnnxMlpWriter.FeatureScale), layers, ScoreHead.Of(spec.Task, tensors), mlp.Categories.Count == 0 ? null : new CategoryTables(mlp, tensors));
    }

    public RowScorer CreateRunner()
    {
        var runner = new Runner(this);
        if (_layers[0] is SparseLayer)
            return (features, score) => runner.Run(features, score);
        var input = new float[_layers[0].Inputs];
        return (features, score) =>
        {
            if (_categories is null)
                Standardize(features, input);
            else
                Embed(_categories, features, input);
            if (_layers[0] is SteppedLayer stepped)
            {
                var sums = runner.ResultOf(0, score);
                stepped.Apply(features, input, sums);
                runner.Run(sums, score, from: 1);
            }
            else
            {
                runner.Run(input, score);
            }
        };
    }

    public SparseRowScorer? CreateSparseRunner()
    {
        if (_layers[0] is not SparseLayer first)
            return null;
        var runner = new Runner(this);
        return (slots, features, score) =>
        {
            var sums = runner.ResultOf(0, score);
            first.Apply(slots, features, sums);
            runner.Run(sums, score, from: 1);
        };
    }

    public void Dispose()
    {
        // Managed memory only.
    }

    private static DenseLayer Linear(int index, MlpSpec mlp, IReadOnlyDictionary<string, float[]> tensors)
    {
        var (weights, bias) = (tensors[$"layers.{index}.weight"], tensors[$"layers.{index}.bias"]);
        return index == 0 && mlp.Sparse is not null ? new SparseLayer(weights, bias, tensors.GetValueOrDefault(OnnxMlpWriter.FeatureScale)) : new DenseLayer(weights, bias, weights.Length / bias.Length);
    }

    private static DenseLayer Hidden(int index, MlpSpec mlp, IReadOnlyDictionary<string, float[]> tensors)
    {
        var layer = Linear(index, mlp, tensors);
        if (mlp.Normalization == LayerNormalization.Layer)
            layer.AddLayerNorm(Norm("weight"), Norm("bias"), OnnxMlpWriter.Epsilon);
        else if (mlp.Normalization == LayerNormalization.Batch)
            layer.FoldBatchNorm(Norm("weight"), Norm("bias"), Norm("running_mean"), Norm("running_var"), OnnxMlpWriter.Epsilon);
        layer.Activation = mlp.Activation == Activation.Gelu ? LayerActivation.Gelu : LayerActivation.Relu;
        return layer;

        float[] Norm(string name) => tensors[$"norms.{index}.{name}"];
    }

    private void Embed(CategoryTables categories, ReadOnlySpan<float> features, Span<float> input)
    {
        Standardize(features[..categories.NumberSize], input[..categories.NumberSize]);
        categories.Embed(features[categories.NumberSize..], input[categories.NumberSize..]);
    }

    // x' = isnan(x) ? 0 : (x - mean) * scale
    private void Standardize(ReadOnlySpan<float> features, Span<float> input)
    {
        if (_mean is null)
            features.CopyTo(input);
        else
            TensorPrimitives.Subtract(features, _mean.AsSpan(0, features.Length), input);
        if (_scale is not null)
            TensorPrimitives.Multiply(input, _scale.AsSpan(0, features.Length), input);
        if (!TensorPrimitives.IsNaNAny<float>(input))
            return;

        // An infinity times a scale of 0 is NaN as well, and stays it, as in the graph.
        for (var i = 0; i < input.Length; i++)
            if (float.IsNaN(features[i]))
                input[i] = 0;
    }

    /// <summary>The layers with room for what goes from one to the next, for one thread at a time.</summary>
    private sealed class Runner(DenseStack stack)
    {
        // What a layer reads is never where it writes.
        private readonly float[][] _results = [new float[stack._layers.Max(l => l.Outputs)], new float[stack._layers.Max(l => l.Outputs)]];

        /// <summary>Where a layer's outputs go.</summary>
        public Span<float> ResultOf(int layer, Span<float> score) => layer == stack._layers.Length - 1 ? score : _results[layer % 2].AsSpan(0, stack._layers[layer].Outputs);

        /// <summary>Applies the layers from one on to its input.</summary>
        public void Run(ReadOnlySpan<float> input, Span<float> score, int from = 0)
        {
            for (var i = from; i < stack._layers.Length; i++)
            {
                var result = ResultOf(i, score);
                stack._layers[i].Apply(input, result);
                input = result;
            }

            stack._head.Finish(score);
        }
    }
}

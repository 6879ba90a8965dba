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

    internal DenseStack(float[]? mean, float[]? scale, DenseLayer[] layers, ScoreHead head) =>
        (_mean, _scale, _layers, _head) = (mean, scale, layers, head);

    public int InputSize => _layers[0].Inputs;

    public int OutputSize => _layers[^1].Outputs;

    /// <summary>The network of a model.</summary>
    /// <param name="onnx">The bytes of its file.</param>
    /// <param name="spec">The job that trained it.</param>
    /// <exception cref="FormatException">The file is not what our writer writes for the job.</exception>
    public static DenseStack Read(byte[] onnx, JobSpec spec)
    {
        var tensors = OnnxMlpReader.Read(onnx, spec);
        var mlp = spec.Module.Mlp;
        var layers = Enumerable.Range(0, mlp.HiddenSizes.Count).Select(i => Hidden(i, mlp, tensors)).Append(Linear(mlp.HiddenSizes.Count, tensors)).ToArray();
        return new DenseStack(tensors.GetValueOrDefault(OnnxMlpWriter.FeatureMean), tensors.GetValueOrDefault(OnnxMlpWriter.FeatureScale), layers, ScoreHead.Of(spec.Task, tensors));
    }

    public RowScorer CreateRunner()
    {
        var input = new float[InputSize];
        var widest = _layers.Max(l => l.Outputs);
        var (front, back) = (new float[widest], new float[widest]);
        return (features, score) =>
        {
            Prepare(features, input);
            ReadOnlySpan<float> current = input;
            for (var i = 0; i < _layers.Length; i++)
            {
                var result = i == _layers.Length - 1 ? score : front.AsSpan(0, _layers[i].Outputs);
                _layers[i].Apply(current, result);
                current = result;
                (front, back) = (back, front);
            }

            _head.Finish(score);
        };
    }

    public void Dispose()
    {
        // Managed memory only.
    }

    private static DenseLayer Linear(int index, IReadOnlyDictionary<string, float[]> tensors)
    {
        var (weights, bias) = (tensors[$"layers.{index}.weight"], tensors[$"layers.{index}.bias"]);
        return new DenseLayer(weights, bias, weights.Length / bias.Length);
    }

    private static DenseLayer Hidden(int index, MlpSpec mlp, IReadOnlyDictionary<string, float[]> tensors)
    {
        var layer = Linear(index, tensors);
        if (mlp.Normalization == LayerNormalization.Layer)
            layer.AddLayerNorm(Norm("weight"), Norm("bias"), OnnxMlpWriter.Epsilon);
        else if (mlp.Normalization == LayerNormalization.Batch)
            layer.FoldBatchNorm(Norm("weight"), Norm("bias"), Norm("running_mean"), Norm("running_var"), OnnxMlpWriter.Epsilon);
        layer.Activation = mlp.Activation == Activation.Gelu ? LayerActivation.Gelu : LayerActivation.Relu;
        return layer;

        float[] Norm(string name) => tensors[$"norms.{index}.{name}"];
    }

    // x' = isnan(x) ? 0 : (x - mean) * scale
    private void Prepare(ReadOnlySpan<float> features, Span<float> input)
    {
        if (_mean is null)
            features.CopyTo(input);
        else
            TensorPrimitives.Subtract(features, _mean, input);
        if (_scale is not null)
            TensorPrimitives.Multiply(input, _scale, input);
        if (!TensorPrimitives.IsNaNAny<float>(input))
            return;

        // An infinity times a scale of 0 is NaN as well, and stays it, as in the graph.
        for (var i = 0; i < input.Length; i++)
            if (float.IsNaN(features[i]))
                input[i] = 0;
    }
}

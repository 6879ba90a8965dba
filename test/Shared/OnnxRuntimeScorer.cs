using Microsoft.ML.OnnxRuntime;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>The reference that <see cref="DenseStack"/> is tested and measured against. The product itself gives no model to native code.</summary>
internal sealed class OnnxRuntimeScorer(byte[] onnx, int inputSize, int outputSize) : IScorer
{
    // ML.NET's cursors bring the parallelism; a pool of threads per session would fight with them.
    private readonly InferenceSession _session = new(onnx, new SessionOptions { IntraOpNumThreads = 1, InterOpNumThreads = 1 });

    public int InputSize => inputSize;

    public int OutputSize => outputSize;

    public RowScorer CreateRunner()
    {
        var input = new float[InputSize];
        return (features, score) =>
        {
            features.CopyTo(input);
            Run(input, 1, OnnxMlpWriter.Score, score);
        };
    }

    /// <summary>Runs a batch of rows at once and copies one of the outputs.</summary>
    public void Run(float[] rows, int count, string output, Span<float> result)
    {
        using var tensor = OrtValue.CreateTensorValueFromMemory(rows, [count, InputSize]);
        using var run = new RunOptions();
        using var outputs = _session.Run(run, [OnnxMlpWriter.Features], [tensor], [output]);
        outputs[0].GetTensorDataAsSpan<float>().CopyTo(result);
    }

    public void Dispose() => _session.Dispose();
}

using Microsoft.ML.OnnxRuntime;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>The reference that <see cref="DenseStack"/> is tested against, and the engine for graphs that it does not know.</summary>
internal sealed class OnnxRuntimeScorer : IScorer
{
    private readonly Lazy<InferenceSession> _session;
    private bool _disposed;

    public OnnxRuntimeScorer(byte[] onnx, int inputSize, int outputSize)
    {
        (InputSize, OutputSize) = (inputSize, outputSize);
        _session = new Lazy<InferenceSession>(() => Open(onnx));
    }

    public int InputSize { get; }

    public int OutputSize { get; }

    public RowScorer CreateRunner()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        var input = new float[InputSize];
        return (features, score) =>
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            features.CopyTo(input);
            Run(input, 1, OnnxMlpWriter.Score, score);
        };
    }

    /// <summary>Runs a batch of rows at once and copies one of the outputs.</summary>
    public void Run(float[] rows, int count, string output, Span<float> result)
    {
        using var tensor = OrtValue.CreateTensorValueFromMemory(rows, [count, InputSize]);
        using var run = new RunOptions();
        using var outputs = _session.Value.Run(run, [OnnxMlpWriter.Features], [tensor], [output]);
        outputs[0].GetTensorDataAsSpan<float>().CopyTo(result);
    }

    private static InferenceSession Open(byte[] onnx)
    {
        try
        {
            // ML.NET's cursors bring the parallelism; a pool of threads per session would fight with them.
            using var options = new SessionOptions { IntraOpNumThreads = 1, InterOpNumThreads = 1 };
            return new InferenceSession(onnx, options);
        }
        catch (Exception e) when (e is DllNotFoundException || (e as TypeInitializationException)?.InnerException is DllNotFoundException)
        {
            throw new InvalidOperationException("This model is more than a stack of dense layers, and ONNX Runtime's native library that scores it is not in the app, which would be 20 to 30 MB larger with it. Add it: dotnet add package Microsoft.ML.OnnxRuntime.", e);
        }
    }

    public void Dispose()
    {
        _disposed = true;
        if (_session.IsValueCreated)
            _session.Value.Dispose();
    }
}

using MLDistributed.Collectives;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// Batch normalisation (Ioffe and Szegedy 2015) with the statistics of the global batch. Forward and backward are written
/// out rather than left to autograd: the graph is cut here, so that the ranks meet in ordinary code, where an abort is an
/// ordinary exception and not the end of the process.
/// </summary>
internal sealed unsafe class SyncBatchNorm(int features, ICollective collective, Memory<float> runningMean, Memory<float> runningVariance)
{
    public const float Epsilon = 1e-5f;
    private const float Momentum = 0.1f;
    private static readonly Scalar s_epsilon = Epsilon;
    private static readonly Scalar s_one = 1; // an implicit one may be collected in the middle of the call
    private static readonly long[] s_rowAxis = [0];

    // Means, squared deviations, and of how many rows.
    private readonly int _length = 2 * features + 1;
    private readonly double[] _mine = new double[2 * features + 1];
    private readonly double[] _all = new double[(2 * features + 1) * collective.WorldSize];
    private readonly double[] _sums = new double[2 * features];

    private Tensor? _input;
    private Tensor? _normalized;
    private Tensor? _inverseDeviation;
    private Tensor? _output;

    /// <summary>Normalises this rank's rows by the global batch and moves the running statistics.</summary>
    /// <param name="input">rows x features, part of a graph.</param>
    /// <param name="weight">features</param>
    /// <param name="bias">features</param>
    /// <param name="globalRows">Rows of all ranks together.</param>
    /// <returns>A leaf: <see cref="Backward"/> carries its gradient on.</returns>
    public Tensor Forward(Tensor input, Tensor weight, Tensor bias, int globalRows)
    {
        using (no_grad())
        {
            var rows = input.shape[0];
            var localMean = rows > 0 ? input.mean(s_rowAxis) : zeros(features, device: input.device);
            var centered = input.sub(localMean);
            ReadTo(localMean, _mine.AsSpan(0, features));
            ReadTo(centered.mul(centered).sum(s_rowAxis), _mine.AsSpan(features, features));
            _mine[^1] = rows;
            collective.AllGather(_mine, _all);

            var mean = new float[features];
            var variance = new float[features];
            Combine(globalRows, mean, variance);
            _input = input;
            _inverseDeviation = tensor(variance, device: input.device).add(s_epsilon).rsqrt();
            _normalized = input.sub(tensor(mean, device: input.device)).mul(_inverseDeviation);
            _output = _normalized.mul(weight).add(bias, s_one);
        }

        return _output.requires_grad_();
    }

    /// <summary>Adds to the gradients of weight and bias, and goes on backward from the input of the last <see cref="Forward"/>.</summary>
    public void Backward(Tensor weight, int globalRows)
    {
        // Intermediate results are as large as an activation: freed here, not at the end of the step.
        using var scope = NewDisposeScope();
        Tensor inputGradient;
        using (no_grad())
        {
            var gradient = _output!.grad!;
            var biasGradient = gradient.sum(s_rowAxis);
            var weightGradient = gradient.mul(_normalized!).sum(s_rowAxis);
            ReadTo(biasGradient, _sums.AsSpan(0, features));
            ReadTo(weightGradient, _sums.AsSpan(features));
            Bias!.add_(biasGradient, s_one);
            Weight!.add_(weightGradient, s_one);
            collective.AllReduce(_sums);

            var meanGradient = MeanOf(0);
            var meanProjection = MeanOf(features);
            inputGradient = gradient.sub(meanGradient).sub(_normalized!.mul(meanProjection)).mul(weight.mul(_inverseDeviation!));
        }

        _input!.backward([inputGradient]);

        Tensor MeanOf(int start)
        {
            var mean = new float[features];
            for (var i = 0; i < features; i++)
                mean[i] = (float)(_sums[start + i] / globalRows);
            return tensor(mean, device: weight.device);
        }
    }

    /// <summary>The gradient of the weight, a view of the flat gradients.</summary>
    public Tensor? Weight { get; init; }

    /// <summary>The gradient of the bias, a view of the flat gradients.</summary>
    public Tensor? Bias { get; init; }

    // Chan, Golub and LeVeque 1979: means and squared deviations of parts, combined in rank order on every rank alike.
    private void Combine(int globalRows, float[] mean, float[] variance)
    {
        var unbiased = (double)globalRows / Math.Max(globalRows - 1, 1);
        for (var i = 0; i < features; i++)
        {
            var sum = 0.0;
            for (var rank = 0; rank < collective.WorldSize; rank++)
                sum += _all[rank * _length + i] * Rows(rank);
            var center = sum / globalRows;
            var squares = 0.0;
            for (var rank = 0; rank < collective.WorldSize; rank++)
            {
                var offset = _all[rank * _length + i] - center;
                squares += _all[rank * _length + features + i] + offset * offset * Rows(rank);
            }

            mean[i] = (float)center;
            variance[i] = (float)(squares / globalRows);
            runningMean.Span[i] += Momentum * (mean[i] - runningMean.Span[i]);
            runningVariance.Span[i] += Momentum * ((float)(variance[i] * unbiased) - runningVariance.Span[i]);
        }

        // Where a batch is made of groups, ranks have not equally many.
        double Rows(int rank) => _all[(rank + 1) * _length - 1];
    }

    private static void ReadTo(Tensor values, Span<double> into)
    {
        var from = new ReadOnlySpan<float>(TorchMemory.Data(values.cpu().contiguous()), into.Length);
        for (var i = 0; i < into.Length; i++)
            into[i] = from[i];
    }
}

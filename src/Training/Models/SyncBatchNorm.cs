using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// Batch normalisation (Ioffe and Szegedy 2015) with the statistics of the global batch. Forward and backward are written
/// out rather than left to autograd: the graph is cut here, so that the ranks meet in ordinary code, where an abort is an
/// ordinary exception and not the end of the process.
/// </summary>
internal sealed class SyncBatchNorm(LayerStatistics statistics)
{
    public const float Epsilon = 1e-5f;
    private const double Momentum = 0.1;
    private static readonly Scalar s_epsilon = Epsilon;
    private static readonly Scalar s_one = 1; // an implicit one may be collected in the middle of the call
    private static readonly long[] s_rowAxis = [0];

    private Tensor? _input;
    private Tensor? _normalized;
    private Tensor? _inverseDeviation;
    private Tensor? _output;
    private BatchMoments? _moments;

    /// <summary>Normalises this rank's rows by the global batch and moves the running statistics.</summary>
    /// <param name="input">rows x features, part of a graph.</param>
    /// <param name="weight">features</param>
    /// <param name="bias">features</param>
    /// <returns>A leaf, whose gradient <see cref="Backward"/> carries on; or, where libtorch has a kernel for all of it, a part of the graph.</returns>
    public Tensor Forward(Tensor input, Tensor weight, Tensor bias)
    {
        _input = null;
        if (statistics.TryNormalize(input, weight, bias, Momentum, Epsilon) is { } whole)
            return whole;
        using (no_grad())
        {
            _moments = statistics.Join(input, s_rowAxis, hasRows: input.shape[0] > 0, Momentum);
            _input = input;
            _inverseDeviation = _moments.Variance.add(s_epsilon).rsqrt();
            _normalized = input.sub(_moments.Mean).mul(_inverseDeviation);
            _output = _normalized.mul(weight).add(bias, s_one);
        }

        return _output.requires_grad_();
    }

    /// <summary>Adds to the gradients of weight and bias, and goes on backward from the input of the last <see cref="Forward"/>.</summary>
    public void Backward(Tensor weight)
    {
        if (_input is null)
            return;
        // Intermediate results are as large as an activation: freed here, not at the end of the step.
        using var scope = NewDisposeScope();
        Tensor inputGradient;
        using (no_grad())
        {
            var gradient = _output!.grad!;
            var biasGradient = gradient.sum(s_rowAxis);
            var weightGradient = gradient.mul(_normalized!).sum(s_rowAxis);
            Bias!.add_(biasGradient, s_one);
            Weight!.add_(weightGradient, s_one);
            var (meanGradient, meanProjection) = _moments!.Means(biasGradient, weightGradient);
            inputGradient = gradient.sub(meanGradient).sub(_normalized!.mul(meanProjection)).mul(weight.mul(_inverseDeviation!));
        }

        _input.backward([inputGradient]);
    }

    /// <summary>The gradient of the weight, a view of the flat gradients.</summary>
    public Tensor? Weight { get; init; }

    /// <summary>The gradient of the bias, a view of the flat gradients.</summary>
    public Tensor? Bias { get; init; }
}

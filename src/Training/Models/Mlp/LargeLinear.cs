using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// A linear layer whose backward multiplies straight into the flat gradients. Autograd would make the weight's gradient in
/// memory of its own before it adds it: one more layer's size, which the C library keeps several times over. The graph is
/// cut here, as by <see cref="SyncBatchNorm"/>; a few microseconds more than autograd's own.
/// </summary>
/// <param name="weight">outputs x inputs</param>
/// <param name="bias">outputs</param>
/// <param name="isNarrow">Whether to multiply in bfloat16; the gradients of weight and bias are added to in float32.</param>
internal sealed class LargeLinear(Tensor weight, Tensor bias, bool isNarrow = false)
{
    private static readonly long[] s_rowAxis = [0];
    private static readonly Scalar s_one = 1; // an implicit one may be collected in the middle of the call

    private Tensor? _input;
    private Tensor? _factor;
    private Tensor? _weight;
    private Tensor? _output;

    /// <param name="input">rows x inputs, part of a graph or not.</param>
    /// <returns>rows x outputs. A leaf: <see cref="Backward"/> carries its gradient on.</returns>
    public Tensor Forward(Tensor input)
    {
        using (no_grad())
        {
            _input = input;
            (_factor, _weight) = (Narrow(input), Narrow(weight));
            _output = nn.functional.linear(_factor, _weight, Narrow(bias));
        }

        return _output.requires_grad_();
    }

    /// <summary>Adds to the gradients of weight and bias, and goes on backward from the input of the last <see cref="Forward"/>.</summary>
    public void Backward()
    {
        // Both gradients are as large as an activation: freed here, not at the end of the step.
        using var scope = NewDisposeScope();
        Tensor? inputGradient = null;
        using (no_grad())
        {
            var gradient = _output!.grad!;
            _output.grad = null;
            if (isNarrow)
                weight.grad!.add_(gradient.t().mm(_factor!), s_one);
            else
                weight.grad!.addmm_(gradient.t(), _factor!, 1, 1);
            bias.grad!.add_(gradient.sum(s_rowAxis, type: ScalarType.Float32), s_one);
            if (_input!.requires_grad)
                inputGradient = gradient.mm(_weight!).to(_input.dtype);
        }

        if (inputGradient is not null)
            _input!.backward([inputGradient]);
    }

    private Tensor Narrow(Tensor tensor) => isNarrow ? tensor.to(ScalarType.BFloat16) : tensor;
}

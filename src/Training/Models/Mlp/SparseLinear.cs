using MLDistributed.Training.Data;
using MLDistributed.Training.Native;
using static TorchSharp.torch;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace MLDistributed.Training.Models;

/// <summary>
/// A first layer for sparse rows: adds up the weights of the features that a row has, and in backward adds to the gradients of
/// those alone, which it marks. The graph begins here, as behind <see cref="LargeLinear"/>.
/// </summary>
/// <param name="weight">inputs x outputs, so that a feature's weights are side by side; on a CPU.</param>
/// <param name="bias">outputs</param>
/// <param name="marks">A bit for each input: whether its gradients were written.</param>
internal sealed unsafe class SparseLinear(Tensor weight, Tensor bias, ulong* marks)
{
    private static readonly long[] s_rowAxis = [0];
    private readonly int _width = (int)weight.shape[1];
    private readonly float* _weights = (float*)TorchMemory.Data(weight);
    private readonly float* _gradients = weight.grad is null ? null : (float*)TorchMemory.Data(weight.grad);

    private SparseRows? _input;
    private Tensor? _output;

    /// <returns>rows x outputs. A leaf: <see cref="Backward"/> carries its gradient on.</returns>
    public Tensor Forward(SparseRows input)
    {
        _input = input;
        _output = Predict(input);
        return _output.requires_grad_();
    }

    /// <returns>rows x outputs, of no graph.</returns>
    public Tensor Predict(SparseRows input)
    {
        using (no_grad())
        {
            var output = empty([input.Count, _width], ScalarType.Float32);
            var sums = (float*)TorchMemory.Data(output);
            var biases = new ReadOnlySpan<float>(TorchMemory.Data(bias), _width);
            for (var row = 0; row < input.Count; row++)
            {
                var sum = new Span<float>(sums + (long)row * _width, _width);
                biases.CopyTo(sum);
                var slots = input.Slots(row);
                var values = input.Values(row);
                for (var i = 0; i < slots.Length; i++)
                    TensorPrimitives.MultiplyAdd(new ReadOnlySpan<float>(_weights + (long)slots[i] * _width, _width), values[i], sum, sum);
            }

            return output;
        }
    }

    /// <summary>Adds to the gradients of bias and of the weights of the last <see cref="Forward"/>'s features.</summary>
    public void Backward()
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var gradient = _output!.grad!.contiguous();
        _output.grad = null;
        bias.grad!.add_(gradient.sum(s_rowAxis));
        var errors = (float*)TorchMemory.Data(gradient);
        for (var row = 0; row < _input!.Count; row++)
        {
            var error = new ReadOnlySpan<float>(errors + (long)row * _width, _width);
            var slots = _input.Slots(row);
            var values = _input.Values(row);
            for (var i = 0; i < slots.Length; i++)
            {
                var sum = new Span<float>(_gradients + (long)slots[i] * _width, _width);
                TensorPrimitives.MultiplyAdd(error, values[i], sum, sum);
                marks[slots[i] >> 6] |= 1UL << slots[i];
            }
        }
    }
}

using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// An identity on a layer's input whose backward tells that everything behind the input has its final gradients. About
/// 9 microseconds a layer; it does not fire for an input that needs no gradient, such as the first.
/// </summary>
internal sealed class GradientSignal : autograd.SingleTensorFunction<GradientSignal>
{
    private const string Ready = "ready";

    public override string Name => nameof(GradientSignal);

    /// <param name="input">A layer's input.</param>
    /// <param name="ready">Called once in each backward; must not throw: it would end the process.</param>
    public static Tensor On(Tensor input, Action ready) => apply(input, ready);

    public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
    {
        ctx.save_data(Ready, vars[1]);
        // Without these two every call would cost an activation's memory.
        ctx.set_materialize_grads(false);
        using var scope = NewDisposeScope();
        return ((Tensor)vars[0]).alias().MoveToOuterDisposeScope();
    }

    public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
    {
        ((Action)ctx.get_data(Ready))();
        return [grad_output, null!];
    }
}

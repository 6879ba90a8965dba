using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// A dropout layer of a module as a function of seed, step, place in the module and row: the same on any number of ranks.
/// A hook puts this in the place of what the layer computes, which is kept in its other mode meanwhile.
/// </summary>
internal static class RowDropout
{
    public static void Attach(TorchSharp.Modules.Dropout layer, ForwardPass pass) =>
        layer.register_forward_hook((_, _, output) => pass.IsTraining && layer.p > 0 ? Drop(output, layer.p, pass) : output);

    private static Tensor Drop(Tensor output, double probability, ForwardPass pass)
    {
        var place = pass.Dropouts++;
        var rows = output.shape[0];
        if (pass.Rows.Count == 0)
            return output;
        // What does not have the rows in front cannot be told by rows.
        if (rows != pass.Rows.Count)
            return nn.functional.dropout(output, probability, training: true);
        var mask = DropoutMask.Of(output.device, pass.Seed, pass.Step, place, pass.Rows.Start, rows, (int)(output.numel() / rows), probability);
        return output.mul(mask.view(output.shape));
    }
}

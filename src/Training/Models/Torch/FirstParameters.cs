using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>First values of parameters that TorchSharp 0.107 leaves as memory comes, another in each process: those of <c>GroupNorm</c>.</summary>
internal static class FirstParameters
{
    /// <summary>Fills them as other normalisations are: factors of 1, summands of 0.</summary>
    public static void Fill(nn.Module module)
    {
        using var frozen = no_grad();
        foreach (var norm in ModuleTensors.Layers(module).OfType<GroupNorm>().Where(n => n.affine))
        {
            nn.init.ones_(norm.weight);
            nn.init.zeros_(norm.bias!);
        }
    }
}

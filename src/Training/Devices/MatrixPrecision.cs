using MLDistributed.Protocol;
using TorchSharp;

namespace MLDistributed.Training.Devices;

/// <summary>How GPUs multiply float32 numbers in this process.</summary>
internal static class MatrixPrecision
{
    /// <summary>Lets them round factors where a job allows it, and nowhere else: libtorch's own choice is to do so in convolutions.</summary>
    public static void Apply(Precision precision)
    {
        var rounds = precision == Precision.TensorFloat32;
        torch.backends.cuda.matmul.allow_tf32 = rounds;
        torch.backends.cudnn.allow_tf32 = rounds;
    }
}

namespace Microsoft.ML.Distributed;

/// <summary>What follows each hidden layer.</summary>
public enum NetworkActivation
{
    /// <summary>max(x, 0).</summary>
    Relu,

    /// <summary>x * Phi(x), the exact one (Hendrycks and Gimpel, arXiv:1606.08415).</summary>
    Gelu,
}

/// <summary>What normalises each hidden layer before its activation.</summary>
public enum NetworkNormalization
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Batch normalisation (Ioffe and Szegedy, arXiv:1502.03167): over the rows of a step while training, over running averages when scoring.</summary>
    Batch,

    /// <summary>Layer normalisation (Ba et al., arXiv:1607.06450): over the units of each row.</summary>
    Layer,
}

/// <summary>The kind of device that ranks train on.</summary>
public enum TrainingDevice
{
    /// <summary>GPUs where the cluster has some, else CPU cores.</summary>
    Any,

    /// <summary>CPU cores.</summary>
    Cpu,

    /// <summary>NVIDIA GPUs.</summary>
    Cuda,
}

/// <summary>What layers compute in while training.</summary>
public enum TrainingPrecision
{
    /// <summary>Single precision everywhere.</summary>
    Float32,

    /// <summary>GPUs (NVIDIA's from Ampere on) may round factors of matrix products and convolutions to 10 bits; sums stay float32. No effect on CPUs, nor on older GPUs.</summary>
    TensorFloat32,

    /// <summary>
    /// Linear layers compute in bfloat16 (Kalamkar et al., arXiv:1905.12322): 8 bits of each number, in half the memory; norms and losses in float32. Of CPUs
    /// only some can, and on others it is many times slower. Not for modules of your own, which cast themselves, nor beside <see cref="Reproducibility.BitExact"/>.
    /// </summary>
    BFloat16,
}

/// <summary>Whether the ranks of a job may be on several workers (machines), which then meet over the cluster's network.</summary>
public enum RankPlacement
{
    /// <summary>All ranks on one worker, in its memory.</summary>
    OneWorker,

    /// <summary>On several workers where one has not enough, and on as few as can be.</summary>
    Pack,

    /// <summary>On as many workers as can be, with equally many ranks where they have them: for data or batches that need more memory than one machine has.</summary>
    Spread,
}

/// <summary>What gradients are rounded to on their way from worker to worker.</summary>
public enum GradientCompression
{
    /// <summary>Nothing: they are sent as float32.</summary>
    None,

    /// <summary>
    /// To bfloat16, as PyTorch's <c>bf16_compress_hook</c>: half the bytes. A worker's gradients keep 8 bits, their sum over workers is made
    /// in float32 and rounded once more, the same bits on all. Not beside <see cref="Reproducibility.BitExact"/>.
    /// </summary>
    BFloat16,
}

/// <summary>How far the model is the same on another number of ranks. On the same number it always is, bit for bit.</summary>
public enum Reproducibility
{
    /// <summary>The same model up to rounding: sums over ranks are made in another order.</summary>
    UpToRounding,

    /// <summary>
    /// The same bits on any number of ranks, and whatever was lost on the way, on CPUs of one kind: a step's rows are cut into
    /// eight parts, each run alone on one thread, and their gradients summed in one fixed binary tree. It costs speed and
    /// memory, has work for at most eight ranks, and does not go with batch normalisation or GPUs.
    /// </summary>
    BitExact,
}

/// <summary>What becomes of a job whose app is gone.</summary>
public enum DisconnectBehavior
{
    /// <summary>It is cancelled, so that it holds no machines for nobody. <see cref="TrainingCluster.ResumeAsync"/> goes on from its last checkpoint.</summary>
    Cancel,

    /// <summary>It runs to its end. <see cref="TrainingCluster.AttachAsync"/> fetches its transformer, from any app.</summary>
    Finish,
}

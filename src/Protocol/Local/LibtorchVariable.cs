namespace MLDistributed.Protocol;

/// <summary>The environment variable by which an app tells a worker where libtorch is.</summary>
public static class LibtorchVariable
{
    /// <summary>Its name. The folder is that of libtorch_cpu.so.</summary>
    public const string Name = "MLDIST_LIBTORCH";
}

namespace MLDistributed.Training.Native.Cuda;

/// <summary>A call of CUDA's runtime gave an error.</summary>
internal sealed class CudaException(string message) : Exception(message)
{
    /// <summary>Throws unless a result is 0, and leaves no error behind for libtorch to find.</summary>
    public static void Check(ICudaRuntime cuda, int result, string what)
    {
        if (result == 0)
            return;
        _ = cuda.GetLastError();
        throw new CudaException($"{what} gave error {result}, \"{cuda.GetErrorString(result)}\"");
    }
}

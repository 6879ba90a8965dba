using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>A convolutional network over images.</summary>
internal sealed unsafe class ImageSource : IModuleSource
{
    private readonly TorchModuleSource _module;

    public ImageSource(ImageSpec image, ulong seed)
    {
        using var pause = new Native.CollectionPause();
        _module = new TorchModuleSource(() => new ImageModule(ImageNetwork.Of(image)), seed, keepsFrozen: true);
    }

    public FlatLayout Layout => _module.Layout;

    public ModelProto WriteOnnx(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors) => OnnxImageWriter.Write(spec, tensors);

    public void Initialize(float* parameters) => _module.Initialize(parameters);

    public ITrainedModule Create(Tensor parameters, Tensor gradients, long maxRows, StatisticsJoin ranks, Action<long>? gradientsReady) =>
        _module.Create(parameters, gradients, maxRows, ranks, gradientsReady);
}

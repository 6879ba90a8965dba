using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace MLDistributed.Training.Models;

/// <summary>
/// A transformer encoder (Vaswani et al. 2017; BERT, Devlin et al. 2019). A part of a batch is cut to its longest row: what is
/// behind a row's last token is seen by nothing.
/// </summary>
internal sealed unsafe class TextEncoder : ITrainedModule
{
    // So few different lengths that the memory of one step serves the next.
    private const long LengthUnit = 8;
    private static readonly Scalar s_one = 1;
    private static readonly Scalar s_hidden = 1e9;

    private readonly TextSpec _spec;
    private readonly ulong _seed;
    private readonly TextParts _parts;
    private readonly Scalar _scale;
    private readonly Scalar _last;
    private readonly Scalar _separator;

    /// <param name="spec">The sizes.</param>
    /// <param name="layout">Where what is trained lies in the flat tensors.</param>
    /// <param name="seed">Decides dropout.</param>
    /// <param name="parameters">Flat, on the device to compute on.</param>
    /// <param name="gradients">Flat, as long, on that device; zero before each step.</param>
    /// <param name="frozen">What is not trained, by name.</param>
    public TextEncoder(TextSpec spec, FlatLayout layout, ulong seed, Tensor parameters, Tensor gradients, IReadOnlyDictionary<string, float[]> frozen)
    {
        (_spec, _seed) = (spec, seed);
        (_scale, _last, _separator) = (1 / Math.Sqrt(spec.Width / spec.Heads), (long)spec.VocabularySize - 1, (long)spec.SeparatorId);
        _parts = new TextParts(spec, layout, parameters, gradients, frozen);
    }

    public float[] Buffers { get; } = [];

    public Tensor Forward(Batch batch, long step) => Run(batch, _spec.Dropout == 0 ? null : new Drop(step, batch.Rows.Start));

    public void Backward(Tensor loss, int globalRows) => loss.backward();

    /// <remarks>Where tokens are tagged all of them, [rows, tokens, outputs] up to the longest row.</remarks>
    public Tensor Predict(Tensor features)
    {
        var (x, mask) = Encode(features, null);
        return _spec.Tags is null ? Pooled(x, mask, null) : _parts.Classifier.Apply(x);
    }

    public Tensor Predict(Batch batch) => Run(batch, null);

    public void Dispose() => _parts.Dispose();

    private Tensor Run(Batch batch, Drop? drop)
    {
        var (x, mask) = Encode(batch.Features, drop);
        return _spec.Tags is null ? Pooled(x, mask, drop) : TaggedTokens.Outputs(_spec, Dropped(x, drop), batch, _parts.Classifier.Apply);
    }

    // [rows, length, width], and which tokens are there.
    private (Tensor X, Tensor Mask) Encode(Tensor features, Drop? drop)
    {
        var length = Length(features.narrow(1, 0, _spec.InputSize));
        var ids = features.narrow(1, 0, length).clamp(0, _last).to(ScalarType.Int64);
        var mask = ids.gt(0).to(ScalarType.Float32);
        mask.select(1, 0).fill_(s_one);
        var rows = features.shape[0];
        var bias = mask.sub(s_one).mul(s_hidden).view(rows, 1, 1, length);
        var x = Dropped(_parts.EmbeddingNorm.Apply(Embed(ids, rows, length)), drop);
        foreach (var layer in _parts.Layers)
            x = Layer(x, layer, bias, drop);
        return (_parts.LastNorm is { } last ? last.Apply(x) : x, mask);
    }

    private Tensor Pooled(Tensor x, Tensor mask, Drop? drop)
    {
        var (rows, width) = (x.shape[0], (long)_spec.Width);
        var pooled = _parts.Pooler is { } pooler
            ? pooler.Apply(x.select(1, 0)).tanh()
            : x.mul(mask.unsqueeze(2)).sum(1).div(mask.sum(1, keepdim: true));
        return _parts.Classifier.Apply(Dropped(pooled.view(rows, 1, width), drop).view(rows, width));
    }

    // [rows, length, width]
    private Tensor Embed(Tensor ids, long rows, long length)
    {
        var separators = ids.eq(_separator).to(ScalarType.Int64);
        var segments = separators.cumsum(1).sub(separators).clamp_max(s_one);
        var words = _parts.Words.index_select(0, ids.reshape(-1)).view(rows, length, _spec.Width);
        return words + _parts.Segments.index_select(0, segments.reshape(-1)).view(rows, length, _spec.Width) + _parts.Positions.narrow(0, 0, length);
    }

    private Tensor Layer(Tensor x, TextLayer layer, Tensor bias, Drop? drop)
    {
        if (_spec.NormFirst)
        {
            x = x + Dropped(Attention(layer.FirstNorm.Apply(x), layer, bias), drop);
            return x + Dropped(FeedForward(layer.SecondNorm.Apply(x), layer), drop);
        }

        x = layer.FirstNorm.Apply(x + Dropped(Attention(x, layer, bias), drop));
        return layer.SecondNorm.Apply(x + Dropped(FeedForward(x, layer), drop));
    }

    private Tensor Attention(Tensor x, TextLayer layer, Tensor bias)
    {
        var (rows, length) = (x.shape[0], x.shape[1]);
        var scores = Heads(layer.Query).mul(_scale).matmul(Heads(layer.Key).transpose(-2, -1)).add(bias);
        return layer.Output.Apply(scores.softmax(-1).matmul(Heads(layer.Value)).transpose(1, 2).reshape(rows, length, _spec.Width));

        Tensor Heads(TextLinear linear) => linear.Apply(x).view(rows, length, _spec.Heads, _spec.Width / _spec.Heads).transpose(1, 2);
    }

    private Tensor FeedForward(Tensor x, TextLayer layer)
    {
        var up = layer.Up.Apply(x);
        return layer.Down.Apply(_spec.Activation == Activation.Gelu ? functional.gelu(up) : functional.relu(up));
    }

    // Behind the last token of any row there is nothing to compute.
    private static long Length(Tensor features)
    {
        if (features.shape[0] == 0)
            return 1;
        using var used = features.gt(0).any(0, false).cpu();
        var flags = new ReadOnlySpan<byte>(TorchMemory.Data(used), (int)used.shape[0]);
        return Math.Min(features.shape[1], (flags.LastIndexOf((byte)1) + LengthUnit) / LengthUnit * LengthUnit);
    }

    // A function of seed, step, place in the network, row of the global batch, token and unit: not of the length that a batch was cut to.
    private Tensor Dropped(Tensor x, Drop? drop)
    {
        if (drop is null)
            return x;
        var (rows, columns) = (x.shape[0], checked((int)(x.shape[1] * x.shape[2])));
        return x.mul(DropoutMask.Of(x.device, _seed, drop.Step, drop.Next++, drop.FirstRow, rows, columns, _spec.Dropout).view(x.shape));
    }

    /// <summary>Where in a step's dropout a forward is.</summary>
    private sealed class Drop(long step, long firstRow)
    {
        public long Step { get; } = step;

        public long FirstRow { get; } = firstRow;

        public int Next { get; set; }
    }
}

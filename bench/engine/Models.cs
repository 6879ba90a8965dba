using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace MLDistributed.Engine.Bench;

/// <summary>A model of the comparison; bench/peers/ddp.py has the same.</summary>
/// <param name="Name">Its name there.</param>
/// <param name="Sizes">Inputs, hidden layers of the built-in module, classes.</param>
/// <param name="BatchSize">Rows a step and rank.</param>
/// <param name="Module">Null: the built-in multi-layer perceptron.</param>
/// <param name="Vocabulary">Features are tokens, from 0; 0: they are numbers.</param>
internal sealed record Model(string Name, int[] Sizes, int BatchSize, Func<Module<Tensor, Tensor>>? Module = null, int Vocabulary = 0)
{
    /// <summary>Rows of an epoch. Of the deep one so few that it ends one, validates and stores a checkpoint in each turn.</summary>
    public int RowCount => Name == "deep" ? 256 : 4096;

    /// <summary>Floats of the built-in module: weights and biases.</summary>
    public long ParameterCount => Sizes.Zip(Sizes.Skip(1), (inputs, outputs) => (inputs + 1L) * outputs).Sum();

    public static Model Named(string name) => All.Single(m => m.Name == name);

    /// <summary>Those that a command line of [ROUNDS] [MODEL..] names; else all that have a peer.</summary>
    public static Model[] Chosen(string[] args) => [.. All.Where(m => args.Length < 2 ? m.Name != "deep" : args.Contains(m.Name))];

    public static readonly Model[] All =
    [
        new("mlp", [784, 1024, 1024, 10], 128),
        new("tiny", [64, 128, 10], 32),
        new("cnn", [784, 10], 64, () => new Cnn()),
        new("deep", [1024, .. Enumerable.Repeat(1024, 24), 10], 8),
        new("transformer", [64, 10], 16, () => new Encoder(), Encoder.Vocabulary),
    ];

    private sealed class Cnn : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor> _layers = Sequential(
            Unflatten(1, [1, 28, 28]), Conv2d(1, 32, 3), ReLU(), Conv2d(32, 64, 3), ReLU(), MaxPool2d(2), Flatten(), Linear(9216, 128), ReLU(), Linear(128, 10));

        public Cnn() : base(nameof(Cnn)) => RegisterComponents();

        public override Tensor forward(Tensor x) => _layers.call(x);
    }

    private sealed class Encoder : Module<Tensor, Tensor>
    {
        public const int Vocabulary = 8000;
        private const int Width = 256;
        private readonly TorchSharp.Modules.Embedding _tokens = Embedding(Vocabulary, Width);
        private readonly TorchSharp.Modules.Embedding _places = Embedding(64, Width);
        private readonly TorchSharp.Modules.TransformerEncoder _layers = TransformerEncoder(TransformerEncoderLayer(Width, 4, 1024, dropout: 0), 4);
        private readonly TorchSharp.Modules.Linear _head = Linear(Width, 10);

        public Encoder() : base(nameof(Encoder)) => RegisterComponents();

        // Sequence x rows x width inside, as the layers take it.
        public override Tensor forward(Tensor x)
        {
            var tokens = x.to(ScalarType.Int64).t();
            var places = arange(tokens.shape[0], ScalarType.Int64, x.device).unsqueeze(1);
            return _head.call(_layers.call(_tokens.call(tokens) + _places.call(places), null, null).mean([0]));
        }
    }
}

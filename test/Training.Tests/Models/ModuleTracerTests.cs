using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Training;
using MLDistributed.Training.Models;
using TorchModules;
using TorchSharp;
using static TorchSharp.torch;

namespace Training.Tests.Models;

/// <summary>What a module computes, as it was traced: in our program and in ONNX Runtime the same as in TorchSharp.</summary>
[TestClass]
public sealed class ModuleTracerTests
{
    private const int Rows = 16;

    public static IEnumerable<object[]> Modules =>
    [
        ["layers in a row", 20, () => new NormNet(new NetOptions(20, 3))],
        ["convolutions", 64, () => new SmallCnn(new NetOptions(64, 10))],
        ["residual blocks", 12, () => new ResidualNet(new NetOptions(12, 2))],
        ["written by itself", 6, () => new SelfWritten(new NetOptions(6, 2))],
        ["one dimension", 40, () => nn.Sequential(
            nn.Unflatten(1, [2, 20]), nn.Conv1d(2, 6, 5, stride: 2, padding: 2, dilation: 1, groups: 2), nn.BatchNorm1d(6), nn.SiLU(), nn.MaxPool1d(3, 2, 1), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(12, 3))],
        ["transposed convolutions of one dimension", 20, () => nn.Sequential(
            nn.Unflatten(1, [2, 10]), nn.ConvTranspose1d(2, 6, 3, stride: 2, padding: 1, output_padding: 1, groups: 2), nn.ReLU(), nn.ConvTranspose1d(6, 2, 2, dilation: 3, bias: false), nn.Flatten(), nn.Linear(46, 3))],
        ["transposed convolutions of two dimensions", 60, () => nn.Sequential(
            nn.Unflatten(1, [3, 4, 5]), nn.ConvTranspose2d(3, 4, (3L, 2L), (2L, 3L), (1L, 0L), (1L, 2L)), nn.SiLU(), nn.ConvTranspose2d(4, 2, 3, padding: 2, groups: 2), nn.Flatten(), nn.Linear(2 * 6 * 13, 3))],
        ["paddings of convolutions", 2 * 6 * 7, () => nn.Sequential(
            nn.Unflatten(1, [2, 6, 7]), nn.Conv2d(2, 4, 3, padding: 2, padding_mode: PaddingModes.Reflect), nn.Conv2d(4, 4, 4, Padding.Same, padding_mode: PaddingModes.Replicate), nn.Conv2d(4, 2, 3, stride: 2, padding: 1, padding_mode: PaddingModes.Circular),
            nn.Flatten(2), nn.Conv1d(2, 3, 5, padding: 3, padding_mode: PaddingModes.Circular), nn.Conv1d(3, 3, 3, padding: 1, padding_mode: PaddingModes.Reflect), nn.Flatten(), nn.Linear(66, 3))],
        ["two dimensions", 2 * 9 * 7, () => nn.Sequential(
            nn.Unflatten(1, [2, 9, 7]), nn.Conv2d(2, 4, (3, 2), stride: (2, 1), padding: (1, 0)), nn.LeakyReLU(0.2), nn.MaxPool2d(2, 2, ceil_mode: true), nn.Conv2d(4, 8, 3, padding: Padding.Same), nn.ELU(), nn.AvgPool2d(2, 1, 1), nn.Flatten(), nn.Linear(8 * 4 * 4, 5))],
        ["layers that pad", 24, () => nn.Sequential(
            nn.Unflatten(1, [2, 12]), nn.ReflectionPad1d(2), nn.ReplicationPad1d((1, 2)), nn.ConstantPad1d((3, 0), 0.5), nn.Conv1d(2, 2, 5, stride: 2),
            nn.Unflatten(2, [3, 3]), nn.ReflectionPad2d((1, 2, 0, 1)), nn.ReplicationPad2d(1), nn.ZeroPad2d((0, 1, 2, 0)), nn.ConstantPad2d(1, -2), nn.Conv2d(2, 2, 4, stride: 2),
            nn.Unflatten(3, [2, 2]), nn.ReflectionPad3d(1), nn.ReplicationPad3d((1, 0, 0, 1, 1, 0)), nn.ConstantPad3d((0, 1, 0, 0, 1, 0), 3), nn.Flatten(), nn.Linear(480, 3))],
        ["every activation", 8, () => nn.Sequential(
            nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.SELU(), nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 8), nn.Hardswish(), nn.Linear(8, 8), nn.Mish(), nn.Linear(8, 8), nn.ReLU6(), nn.Linear(8, 8), nn.Softsign(), nn.Linear(8, 8), nn.Hardsigmoid(), nn.Linear(8, 4), nn.LogSoftmax(-1))],
        ["rows of vectors", 12, () => nn.Sequential(nn.Unflatten(1, [3, 4]), nn.Linear(4, 5), nn.LayerNorm([3, 5]), nn.ReLU(), nn.Flatten(), nn.Linear(15, 2))],
    ];

    /// <summary>Types of the module library, whose code is watched as a job's is.</summary>
    public static IEnumerable<object[]> Watched =>
    [
        [typeof(SmallCnn), 64], [typeof(ResidualNet), 12], [typeof(LstmNet), 20], [typeof(GruNet), 12], [typeof(ElmanNet), 20], [typeof(OwnCell), 20], [typeof(OwnTransformer), 24],
        [typeof(FoldedHeads), 20], [typeof(StockTransformer), 20], [typeof(Functions), 8], [typeof(GroupedCnn), 72], [typeof(EmbeddingNet), 7],
        [typeof(Compared), 12], [typeof(Truths), 12], [typeof(Padded), 12], [typeof(PaddingMasks), 20],
        [typeof(ParametersAlone), 8], [typeof(MaskedAttention), 20], [typeof(RepeatedProduct), 20], [typeof(PositiveElman), 20],
        [typeof(PaddedIds), 6], [typeof(AddedMasks), 20], [typeof(PaddedInfinite), 12], [typeof(OwnTypes), 3], [typeof(HiddenKeys), 20], [typeof(FirstToken), 6],
    ];

    [TestMethod]
    [DynamicData(nameof(Watched))]
    public void Trace_WatchedModule_IsTheSameInOurProgramAndInOnnxRuntime(Type type, int inputs) =>
        Compare(type.Name, inputs, () => Make(type, new NetOptions(inputs, 3)), type == typeof(EmbeddingNet) || type == typeof(PaddedIds) || type == typeof(OwnTypes) ? new SampleRows(2) : SampleRows.Normal);

    [TestMethod]
    [DynamicData(nameof(Modules))]
    public void Trace_Module_IsTheSameInOurProgramAndInOnnxRuntime(string name, int inputs, Func<nn.Module<Tensor, Tensor>> make) => Compare(name, inputs, make, SampleRows.Normal);

    [TestMethod]
    public void Trace_WatchedModuleOfSeveralInputs_IsTheSameInOurProgramAndInOnnxRuntime()
    {
        Compare(nameof(RatingNet), 8, () => Make(typeof(RatingNet), new NetOptions(4, 3, 5)), SampleRows.Normal with { Row = new ModuleRow(s_inputs, [], []) });
    }

    [TestMethod]
    public void Trace_WatchedModuleOfSeveralOutputs_IsTheSameInOurProgramAndInOnnxRuntime()
    {
        var torch = new TorchModuleSpec
        {
            InputSize = 10,
            Inputs = { s_inputs },
            Labels = { new ModuleInput { Name = "Paid", Size = 1 }, new ModuleInput { Name = "Item", Size = 1, KeyCount = 3 } },
            Outputs = { new[] { "Amount", "Items", "Place" }.Select(name => new ModuleOutput { Name = name, Column = name }) },
        };
        var model = Compare(nameof(ShopNet), torch, () => Make(typeof(ShopNet), new NetOptions(4, 3, 5)), SampleRows.Normal with { Row = new ModuleRow(torch) });
        CollectionAssert.AreEqual(new[] { "output.0", "output.1", "output.2" }, model.Graph.Output.Select(o => o.Name).ToArray());
    }

    private static readonly ModuleInput[] s_inputs = [new ModuleInput { Name = "User", Size = 1, KeyCount = 5 }, new ModuleInput { Name = "Tags", Size = 3, KeyCount = 4 }, new ModuleInput { Name = "Prices", Size = 4 }];

    // Their code, changed once.
    private static readonly Lazy<System.Reflection.Assembly> s_watched = new(() => new WatchedCode(new Dictionary<string, byte[]> { [$"{Own.Name}.dll"] = File.ReadAllBytes(typeof(SmallCnn).Assembly.Location) }).LoadFromAssemblyName(Own));

    private static System.Reflection.AssemblyName Own => typeof(SmallCnn).Assembly.GetName();

    private static nn.Module Make(Type type, NetOptions options)
    {
        var given = Activator.CreateInstance(s_watched.Value.GetType(typeof(NetOptions).FullName!)!, options.Inputs, options.Outputs, options.Width);
        return (nn.Module)Activator.CreateInstance(s_watched.Value.GetType(type.FullName!)!, given)!;
    }

    private static void Compare(string name, int inputs, Func<nn.Module> make, SampleRows kind) => Compare(name, new TorchModuleSpec { InputSize = inputs }, make, kind);

    private static ModelProto Compare(string name, TorchModuleSpec torch, Func<nn.Module> make, SampleRows kind)
    {
        RankTraining.Preload();
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var source = new TorchModuleSource(make, seed: 7);
        using var module = source.Module;
        module.eval();
        var features = kind.Make(Rows, torch.InputSize);
        var expected = kind.Row.Call(module, features);
        var outputs = (int)expected.shape[1];
        torch.OutputSize = kind.Row.HasColumns ? 0 : outputs;

        // The instance that is traced is gone when the model is written.
        ModuleTrace trace;
        using (var traced = new TorchModuleSource(make, seed: 7).Module)
            trace = ModuleTracer.Trace(traced, torch.InputSize, kind);
        trace.Check(module, source.Tensors, torch);
        var spec = new JobSpec { Task = kind.Row.HasColumns ? MlTask.Own : MlTask.Regression, Module = new ModuleSpec { Torch = torch } };
        var inputs = spec.Module.Kind!.ModelInputSize;
        var values = source.Tensors.Trained.Select(t => (t.Name, (Tensor)t.Parameter)).Concat(source.Tensors.Buffers).ToDictionary(t => t.Item1, t => t.Item2.data<float>().ToArray());
        var onnx = trace.Write(spec, module, source.Tensors, values).ToByteArray();

        var right = expected.data<float>().ToArray();
        var rows = features.narrow(1, 0, inputs).contiguous().data<float>().ToArray();
        var run = OnnxProgram.Read(onnx, spec).CreateRunner();
        var ours = new float[right.Length];
        for (var r = 0; r < Rows; r++)
            run(rows.AsSpan(r * inputs, inputs), ours.AsSpan(r * outputs, outputs));
        using var session = new InferenceSession(onnx);
        using var given = OrtValue.CreateTensorValueFromMemory(rows, [Rows, inputs]);
        using var options = new RunOptions();
        using var results = session.Run(options, ["features"], [given], session.OutputNames);
        var theirs = Enumerable.Range(0, Rows).SelectMany(r => results.SelectMany(o => Row(o, r))).ToArray();
        for (var i = 0; i < right.Length; i++)
        {
            Assert.AreEqual(right[i], ours[i], 1e-5f, $"{name}: ours at {i}");
            Assert.AreEqual(right[i], theirs[i], 1e-5f, $"{name}: ONNX Runtime's at {i}");
        }

        return ModelProto.Parser.ParseFrom(onnx);

        static float[] Row(OrtValue output, int row) => output.GetTensorDataAsSpan<float>().ToArray()[(row * (int)output.GetTensorTypeAndShape().Shape[1])..((row + 1) * (int)output.GetTensorTypeAndShape().Shape[1])];
    }

    [TestMethod]
    public void Trace_LayerThatDoesNotMap_NamesTheFirst()
    {
        RankTraining.Preload();
        using var module = new NotSeen(new NetOptions(5, 2));
        var e = Assert.ThrowsExactly<UserModuleException>(() => ModuleTracer.Trace(module, 5));
        StringAssert.Contains(e.Message, "Module \"NotSeen\" cannot be written as ONNX: layer \"memory\" (Bilinear) maps to no operator");
    }

    [TestMethod]
    public void Trace_FunctionThatIsNotSeen_SaysWhereItIs()
    {
        RankTraining.Preload();
        using var module = new Sines();
        var e = Assert.ThrowsExactly<UserModuleException>(() => ModuleTracer.Trace(module, 4));
        StringAssert.Contains(e.Message, "the input of layer \"last\" (Linear), [3, 4], comes from code that is not seen");
    }

    [TestMethod]
    public void Check_GraphThatIsAnother_IsRefused()
    {
        RankTraining.Preload();
        var source = new TorchModuleSource(() => new Liar(), seed: 1);
        var trace = ModuleTracer.Trace(source.Module, 4);
        var e = Assert.ThrowsExactly<UserModuleException>(() => trace.Check(source.Module, source.Tensors, new TorchModuleSpec { InputSize = 4, OutputSize = 2 }));
        StringAssert.Contains(e.Message, "Module \"Liar\" puts out");
    }

    [TestMethod]
    [DataRow(typeof(UsesUnknownFunction), "Tensor.cumsum, called in UsesUnknownFunction.forward, maps to no operator")]
    [DataRow(typeof(UsesUnknownLayer), "layer \"mixed\" (Bilinear) maps to no operator")]
    [DataRow(typeof(Decides), "ToSingle, called in Decides.forward, reads a row's numbers")]
    [DataRow(typeof(AttendsOverRows), "layer \"attention\" (MultiheadAttention) takes [3, 2, 4], whose dimension 1 does not count rows")]
    [DataRow(typeof(MixesRows), "Tensor.sum, called in MixesRows.forward, works over dimension 0, which counts rows")]
    [DataRow(typeof(Rounds), "Tensor.round_, called in Rounds.forward, maps to no operator")]
    [DataRow(typeof(WorksInPlace), "functional.celu, called in WorksInPlace.forward, maps to no operator")]
    [DataRow(typeof(ReadsOne), "ReadCpuSingle, called in ReadsOne.forward, reads a row's numbers")]
    [DataRow(typeof(ComparesAll), "allclose, called in ComparesAll.forward, reads a row's numbers")]
    [DataRow(typeof(Noisy), "operator Addition, called in Noisy.forward, is another constant for each row")]
    [DataRow(typeof(PoolsUnevenly), "functional.adaptive_avg_pool1d, called in PoolsUnevenly.forward, makes [3] of [8]")]
    [DataRow(typeof(IndexesParameter), "operator Addition, called in IndexesParameter.forward, failed (")]
    [DataRow(typeof(MasksByUnknown), "Tensor.cumsum, called in MasksByUnknown.forward, maps to no operator")]
    [DataRow(typeof(MasksByTruths), "layer \"encoder\" (TransformerEncoder) has a mask [2, 2] of Bool, expected Float32, with -inf where it hides")]
    [DataRow(typeof(NeverFinite), "puts out no finite number on random rows")]
    [DataRow(typeof(PadsByLess), "layer \"pad\" (ConstantPad1d) takes -1 places more, expected none that are less than 0")]
    public void Trace_WatchedModuleThatIsNoGraph_NamesThePlace(Type type, string words)
    {
        RankTraining.Preload();
        var source = new TorchModuleSource(() => Make(type, new NetOptions(8, 2)), seed: 1);
        StringAssert.Contains(Assert.ThrowsExactly<UserModuleException>(() =>
        {
            ModuleTrace trace;
            using (var traced = Make(type, new NetOptions(8, 2)))
                trace = ModuleTracer.Trace(traced, 8);
            trace.Check(source.Module, source.Tensors, new TorchModuleSpec { InputSize = 8, OutputSize = 2 });
        }).Message, words);
    }

    [TestMethod]
    public void Write_MatrixOfEveryStep_IsThereOnce()
    {
        RankTraining.Preload();
        var source = new TorchModuleSource(() => Make(typeof(RepeatedProduct), new NetOptions(40, 3)), seed: 1);
        var spec = new JobSpec { Task = MlTask.Regression, Module = new ModuleSpec { Torch = new TorchModuleSpec { InputSize = 40, OutputSize = 3 } } };
        var values = source.Tensors.Trained.ToDictionary(t => t.Name, t => t.Parameter.data<float>().ToArray());
        var model = ModuleTracer.Trace(source.Module, 40).Write(spec, source.Module, source.Tensors, values);
        Assert.AreEqual(10, model.Graph.Node.Count(n => n.OpType == "MatMul"));
        Assert.AreEqual(1, model.Graph.Initializer.Count(t => t.Dims.SequenceEqual([4, 4])));
    }

    [TestMethod]
    public void CheckLayout_AllFrozen_SaysSo()
    {
        RankTraining.Preload();
        var source = new TorchModuleSource(() =>
        {
            var layer = nn.Linear(3, 2);
            foreach (var parameter in layer.parameters())
                parameter.requires_grad = false;
            return layer;
        }, seed: 1);
        StringAssert.Contains(Assert.ThrowsExactly<UserModuleException>(() => UserModule.CheckLayout(source, new JobSpec())).Message, "all of its are frozen");
    }

    private sealed class Sines : nn.Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.Linear first = nn.Linear(4, 4);
        private readonly TorchSharp.Modules.Linear last = nn.Linear(4, 2);

        public Sines() : base(nameof(Sines)) => RegisterComponents();

        public override Tensor forward(Tensor x) => last.call(first.call(x).sin());
    }

    public static IEnumerable<object[]> LayersToWriteOtherwise =>
    [
        [() => nn.Conv1d(1, 1, 3, padding: 1, padding_mode: PaddingModes.Reflect), "Layer \"layer\" (Conv1d) pads with Reflect, expected a graph.Node(\"Gather\", ...)"],
        [() => nn.ZeroPad2d((0, 0, 0, 0)), "Layer \"layer\" (ZeroPad2d) does not know its input's dimensions, expected a graph.Node(\"Pad\", ...)"],
    ];

    [TestMethod]
    [DynamicData(nameof(LayersToWriteOtherwise))]
    public void Check_OwnGraphOfALayerThatPads_SaysWhatToWriteInItsPlace(Func<nn.Module<Tensor, Tensor>> layer, string words)
    {
        RankTraining.Preload();
        var source = new TorchModuleSource(() => new PadsItself(layer()), seed: 1);
        var trace = ModuleTracer.Trace(source.Module, 8);
        var e = Assert.ThrowsExactly<UserModuleException>(() => trace.Check(source.Module, source.Tensors, new TorchModuleSpec { InputSize = 8, OutputSize = 8 }));
        StringAssert.Contains(e.Message, words);
    }

    private sealed class PadsItself : nn.Module<Tensor, Tensor>, Microsoft.ML.Distributed.IOnnxModule
    {
        private readonly nn.Module<Tensor, Tensor> layer;
        private readonly TorchSharp.Modules.Linear other = nn.Linear(8, 8);

        public PadsItself(nn.Module<Tensor, Tensor> layer) : base(nameof(PadsItself))
        {
            this.layer = layer;
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => other.call(layer.call(x.unsqueeze(1)).squeeze(1));

        public Microsoft.ML.Distributed.OnnxValue ToOnnx(Microsoft.ML.Distributed.OnnxGraphBuilder graph, Microsoft.ML.Distributed.OnnxValue input) => graph.Layer(nameof(other), graph.Layer(nameof(layer), input));
    }

    public static IEnumerable<object[]> OwnGraphsOfOtherTypes =>
    [
        ["truths", (Computes)(x => x.clone()), (Writes)((g, x) => g.Node("Greater", [x, g.Constant([0])])), "the ToOnnx of layer \"1\" (OwnPart) returns \"greater.3\", [N, 4] of Bool, expected [N, 4] of Float32, as its forward returns"],
        ["ids", (Computes)(x => x.floor()), (Writes)((g, x) => g.Node("Cast", [x], ("to", 7))), "[N, 4] of Int64, expected [N, 4] of Float32"],
        ["numbers of another shape", (Computes)(x => x.sum(1, keepdim: true).expand(-1, 4)), (Writes)((g, x) => g.Node("ReduceSum", [x, g.Integers(1)])), "[N, 1] of Float32, expected [N, 4] of Float32"],
        ["a constant", (Computes)(x => x * 0), (Writes)((g, x) => g.Constant([0, 0, 0, 0], 4)), "a constant, or a value whose first dimension does not count rows, expected [N, 4]"],
        ["a sum of truths", (Computes)(x => x + (x > 0).@float()), (Writes)((g, x) => g.Add(x, g.Node("Greater", [x, g.Constant([0])]))),
            "in the ToOnnx of layer \"1\" (OwnPart), node 4 (\"Add\") is given Float32 as its input 0 and Bool as its input 1, expected them alike. Cast it"],
        ["a lookup by numbers", (Computes)(x => x * 0 + 1), (Writes)((g, x) => g.Node("Gather", [g.Constant([1, 1], 2), x])), "(\"Gather\") is given Float32 as its input 1, expected Int64"],
        ["a root of ids", (Computes)(x => x.floor().abs().sqrt()), (Writes)((g, x) => g.Node("Sqrt", [g.Node("Abs", [g.Node("Cast", [g.Node("Floor", [x])], ("to", 7))])])), "(\"Sqrt\") is given Int64 as its input 0, expected Float32"],
        ["a quotient of ids", (Computes)(x => x.floor() / x.floor()), (Writes)((g, x) => { var ids = g.Node("Cast", [g.Node("Floor", [x])], ("to", 7)); return g.Node("Cast", [g.Node("Div", [ids, ids])], ("to", 1)); }), "(\"Div\") is given Int64 as its input 1, expected Float32"],
        ["a choice by numbers", (Computes)(x => x.clone()), (Writes)((g, x) => g.Node("Where", [x, x, x])), "(\"Where\") is given Float32 as its input 0, expected Bool"],
    ];

    [TestMethod]
    [DynamicData(nameof(OwnGraphsOfOtherTypes))]
    public void Check_OwnGraphOfAnotherType_NamesIt(string kind, Computes forward, Writes graph, string words)
    {
        RankTraining.Preload();
        var source = new TorchModuleSource(() => nn.Sequential(nn.Linear(4, 4), new OwnPart(forward, graph), nn.Linear(4, 2)), seed: 1);
        var trace = ModuleTracer.Trace(source.Module, 4);
        var e = Assert.ThrowsExactly<UserModuleException>(() => trace.Check(source.Module, source.Tensors, new TorchModuleSpec { InputSize = 4, OutputSize = 2 }), kind);
        StringAssert.Contains(e.Message, words);
    }

    public delegate Tensor Computes(Tensor x);

    public delegate Microsoft.ML.Distributed.OnnxValue Writes(Microsoft.ML.Distributed.OnnxGraphBuilder graph, Microsoft.ML.Distributed.OnnxValue x);

    private sealed class OwnPart(Computes computes, Writes writes) : nn.Module<Tensor, Tensor>(nameof(OwnPart)), Microsoft.ML.Distributed.IOnnxModule
    {
        public override Tensor forward(Tensor x) => computes(x);

        public Microsoft.ML.Distributed.OnnxValue ToOnnx(Microsoft.ML.Distributed.OnnxGraphBuilder graph, Microsoft.ML.Distributed.OnnxValue input) => writes(graph, input);
    }

    private sealed class Liar : nn.Module<Tensor, Tensor>, Microsoft.ML.Distributed.IOnnxModule
    {
        private readonly TorchSharp.Modules.Linear layer = nn.Linear(4, 2);

        public Liar() : base(nameof(Liar)) => RegisterComponents();

        public override Tensor forward(Tensor x) => layer.call(x).sin();

        public Microsoft.ML.Distributed.OnnxValue ToOnnx(Microsoft.ML.Distributed.OnnxGraphBuilder graph, Microsoft.ML.Distributed.OnnxValue input) => graph.Layer(nameof(layer), input);
    }
}

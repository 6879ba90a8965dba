using Google.Protobuf;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Protocol.Tests.Onnx;

/// <summary>Graphs that no module of ours makes are refused in words, before much is allocated. What programs compute, the tracer's tests compare.</summary>
[TestClass]
public sealed class OnnxProgramTests
{
    private static readonly JobSpec s_spec = new() { Task = MlTask.Regression, Module = new ModuleSpec { Torch = new TorchModuleSpec { InputSize = 4, OutputSize = 2 } } };

    public static IEnumerable<object[]> Hostile =>
    [
        ["unknown operator", (Action<ModelProto>)(m => m.Graph.Node[2].OpType = "Loop"), "is no operator that this release knows"],
        ["another domain", (Action<ModelProto>)(m => m.Graph.Node[2].Domain = "com.evil"), "has a domain"],
        ["unknown attribute", (Action<ModelProto>)(m => m.Graph.Node[2].Attribute.Add(OnnxGraph.Integer("evil", 1))), "has the attribute \"evil\", which is not known"],
        ["attribute of another kind", (Action<ModelProto>)(m => m.Graph.Node[2].Attribute[0] = OnnxGraph.Text("transB", "1")), "of another kind"],
        ["input that nothing makes", (Action<ModelProto>)(m => m.Graph.Node[2].Input[0] = "nothing"), "reads \"nothing\", which nothing before it makes"],
        ["its own output", (Action<ModelProto>)(m => m.Graph.Node[2].Input[0] = m.Graph.Node[2].Output[0]), "which nothing before it makes"],
        ["weights that do not fit", (Action<ModelProto>)(m => Weights(m).Dims.Swap()), "has weights [4, 2], expected [outputs, 4]"],
        ["numbers that are missing", (Action<ModelProto>)(m => Weights(m).Dims[0] = 2_000_000_000), "expected numbers for all of it"],
        ["sizes that overflow", (Action<ModelProto>)(m => Weights(m).Dims.Add([long.MaxValue, long.MaxValue])), "expected numbers for all of it"],
        ["a number that is none", (Action<ModelProto>)(m => Weights(m).RawData = ByteString.CopyFrom([.. Enumerable.Repeat((byte)0xFF, 32)])), "expected finite numbers"],
        ["another output", (Action<ModelProto>)(m => m.Graph.Node[^1].Output[0] = "other"), "output \"score\" is missing"],
        ["a kernel as large as memory", (Action<ModelProto>)(m => Conv(m, [1, 1, 2_000_000_000])), "expected numbers for all of it"],
        ["padding without end", (Action<ModelProto>)(m => Conv(m, [1, 1, 1], OnnxGraph.List("pads", [2_000_000_000, 2_000_000_000]))), "with strides, pads or dilations that do not fit"],
        ["padding to the limit", (Action<ModelProto>)(m => Conv(m, [200, 1, 1], OnnxGraph.List("pads", [1 << 20, 1 << 20]))), "brings the values of a row to"],
        ["a pad without end", (Action<ModelProto>)(m => Pad(m, "constant", [0, 2_000_000_000, 0, 2_000_000_000])), "is too large"],
        ["a pad to the limit", (Action<ModelProto>)(m => Pad(m, "edge", [0, 1 << 30, 0, 0])), "brings the values of a row to"],
        ["a pad of rows", (Action<ModelProto>)(m => Pad(m, "constant", [1, 0, 0, 0])), "has pads [1, 0, 0, 0], expected 4, none of rows"],
        ["a pad that takes away", (Action<ModelProto>)(m => Pad(m, "constant", [0, -1, 0, 0])), "none less than 0"],
        ["a mirror without an image", (Action<ModelProto>)(m => Pad(m, "reflect", [0, 4, 0, 0])), "pads 4 in the mode \"reflect\" as far as place -4"],
        ["a pad of an unknown kind", (Action<ModelProto>)(m => Pad(m, "blurred", [0, 1, 0, 0])), "expected constant, edge, reflect or wrap"],
        ["rows that are mixed", (Action<ModelProto>)(m => m.Graph.Node[2].MergeFrom(new NodeProto { OpType = "Reshape" })), "Node 2 of the model"],
        ["another operator set", (Action<ModelProto>)(m => m.OpsetImport[0].Version = 21), "operators of another version than 20"],
        ["no graph", (Action<ModelProto>)(m => m.Graph = null), "fields that are none of ours"],
        ["softmax of one number a row", (Action<ModelProto>)(m => OfSum(m, "Softmax")), "takes [N] as input 0"],
        ["logarithm of a softmax of one", (Action<ModelProto>)(m => OfSum(m, "LogSoftmax")), "takes [N] as input 0"],
        ["product of one number a row", (Action<ModelProto>)(m => OfSum(m, "MatMul", [1, 2])), "takes [N] as input 0"],
        ["batch norm of one number a row", (Action<ModelProto>)(m => OfSum(m, "BatchNormalization", [1], [1], [1], [1])), "takes [N] as input 0"],
        ["instance norm of one number a row", (Action<ModelProto>)(m => OfSum(m, "InstanceNormalization", [1], [1])), "takes [N] as input 0"],
        ["layer norm of one number a row", (Action<ModelProto>)(m => OfSum(m, "LayerNormalization", [1])), "takes [N] as input 0"],
        ["steps without end", (Action<ModelProto>)LongMemory, "brings the values of a row to"],
        ["names without end", (Action<ModelProto>)(m => m.DocString = new string('x', 5 << 20)), "bytes besides its tensors' numbers"],
    ];

    [TestMethod]
    [DynamicData(nameof(Hostile))]
    public void Read_HostileGraph_IsRefused(string kind, Action<ModelProto> change, string words)
    {
        var model = Model();
        change(model);
        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => OnnxProgram.Read(model.ToByteArray(), s_spec), kind).Message, words);
    }

    [TestMethod]
    public void Read_AnyBytesChanged_IsRefusedOrRuns()
    {
        var random = new Random(5);
        var good = Model().ToByteArray();
        for (var i = 0; i < 3000; i++)
        {
            var bytes = good.ToArray();
            for (var n = random.Next(1, 4); n > 0; n--)
                bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            try
            {
                OnnxProgram.Read(bytes, s_spec).CreateRunner()(new float[4], new float[2]);
            }
            catch (FormatException)
            {
                // In words.
            }
        }
    }

    [TestMethod]
    public void Run_Graph_ComputesWhatItSays()
    {
        var score = new float[2];
        OnnxProgram.Read(Model().ToByteArray(), s_spec).CreateRunner()([1, float.NaN, 3, 4], score);
        CollectionAssert.AreEqual(new float[] { 1 + 3 + 4, 0.5f }, score);
    }

    [TestMethod]
    [DataRow("constant", new float[] { 9, 1, 2, 3, 4, 9, 9 })]
    [DataRow("edge", new float[] { 1, 1, 2, 3, 4, 4, 4 })]
    [DataRow("reflect", new float[] { 2, 1, 2, 3, 4, 3, 2 })]
    [DataRow("wrap", new float[] { 4, 1, 2, 3, 4, 1, 2 })]
    public void Run_Pad_HasWhatItsModeSaysAroundTheValue(string mode, float[] expected)
    {
        var graph = new OnnxGraph(null);
        var model = OnnxFrame.Build(s_spec, graph, "pad", (input, output) => graph.Node("Pad", [input, graph.Integers("pads", [0, 1, 0, 2]), graph.Constant("nine", [], [9])], output, OnnxGraph.Text("mode", mode)));
        var got = new float[expected.Length];
        OnnxProgram.Of(model, 4, got.Length).CreateRunner()([1, 2, 3, 4], got);
        CollectionAssert.AreEqual(expected, got);
    }

    [TestMethod]
    [DataRow(1, 1, 9, 9, 16, 3, 1, 1, 1, DisplayName = "one channel, padded")]
    [DataRow(3, 3, 11, 7, 5, 3, 2, 1, 1, DisplayName = "stride, an odd number of channels")]
    [DataRow(7, 7, 6, 13, 3, 1, 1, 0, 1, DisplayName = "a point")]
    [DataRow(2, 2, 12, 12, 2, 5, 1, 4, 2, DisplayName = "dilated, more padding than image")]
    [DataRow(4, 1, 8, 8, 4, 3, 1, 1, 1, DisplayName = "each channel by itself")]
    [DataRow(5, 5, 4, 6, 50, 3, 2, 1, 1, DisplayName = "many channels over six places")]
    public void Run_Convolution_IsTheSumOfWhatTheKernelSees(int channels, int perGroup, int height, int width, int outputs, int kernel, int stride, int pad, int dilation)
    {
        var random = new Random(3);
        float[] Numbers(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];
        var (weights, bias, image) = (Numbers(outputs * perGroup * kernel * kernel), Numbers(outputs), Numbers(channels * height * width));
        int Size(int side) => ((side + (2 * pad) - (dilation * (kernel - 1)) - 1) / stride) + 1;
        var (rows, columns) = (Size(height), Size(width));
        var graph = new OnnxGraph(null);
        var spec = new JobSpec { Task = MlTask.Regression, Module = new ModuleSpec { Torch = new TorchModuleSpec { InputSize = image.Length, OutputSize = outputs * rows * columns } } };
        var model = OnnxFrame.Build(spec, graph, "conv", (input, output) =>
        {
            var planes = graph.Node("Reshape", [input, graph.Integers("shape", [0, channels, height, width])]);
            var sums = graph.Node("Conv", [planes, graph.Constant("w", [outputs, perGroup, kernel, kernel], weights), graph.Constant("b", [outputs], bias)], null,
                OnnxGraph.List("strides", [stride, stride]), OnnxGraph.List("pads", [pad, pad, pad, pad]), OnnxGraph.List("dilations", [dilation, dilation]), OnnxGraph.Integer("group", channels / perGroup));
            return graph.Node("Flatten", [sums], output);
        });
        var got = new float[outputs * rows * columns];

        OnnxProgram.Of(model, image.Length, got.Length).CreateRunner()(image, got);

        for (var (o, i) = (0, 0); o < outputs; o++)
            for (var y = 0; y < rows; y++)
                for (var x = 0; x < columns; x++, i++)
                    Assert.AreEqual(Sum(o, y, x), got[i], 1e-5, $"channel {o}, row {y}, column {x}");

        double Sum(int o, int y, int x)
        {
            double sum = bias[o];
            for (var c = 0; c < perGroup; c++)
                for (var ky = 0; ky < kernel; ky++)
                    for (var kx = 0; kx < kernel; kx++)
                    {
                        var (row, column) = ((y * stride) - pad + (ky * dilation), (x * stride) - pad + (kx * dilation));
                        var from = (o / (outputs / (channels / perGroup)) * perGroup) + c;
                        if (row >= 0 && row < height && column >= 0 && column < width)
                            sum += weights[(((((o * perGroup) + c) * kernel) + ky) * kernel) + kx] * image[(((from * height) + row) * width) + column];
                    }

            return sum;
        }
    }

    private static TensorProto Weights(ModelProto model) => model.Graph.Initializer.Single(t => t.Name == "module.weight");

    // Input, its missing values, and a layer: scores of x0 + x1 + x2 + x3, and of a half.
    private static ModelProto Model()
    {
        var graph = new OnnxGraph(new Dictionary<string, float[]> { ["module.weight"] = [1, 1, 1, 1, 0, 0, 0, 0], ["module.bias"] = [0, 0.5f] });
        return OnnxFrame.Build(s_spec, graph, "module", (input, output) => graph.Node("Identity",
            [graph.Node("Gemm", [input, graph.Parameter("module.weight", 2, 4), graph.Parameter("module.bias", 2)], null, OnnxGraph.Integer("transB", 1))], output));
    }

    // An operator behind a sum of each row, and constants.
    private static void OfSum(ModelProto model, string op, params long[][] constants)
    {
        model.Graph.Initializer.Add(new TensorProto { Name = "axes", DataType = 7, Dims = { 1 }, Int64Data = { 1 } });
        foreach (var (i, dims) in constants.Index())
            model.Graph.Initializer.Add(Ones($"constant {i}", dims));
        model.Graph.Node.Insert(2, new NodeProto { OpType = "ReduceSum", Input = { model.Graph.Node[1].Output[0], "axes" }, Output = { "sum" }, Attribute = { OnnxGraph.Integer("keepdims", 0) } });
        model.Graph.Node.Insert(3, new NodeProto { OpType = op, Input = { constants.Select((_, i) => $"constant {i}").Prepend("sum") }, Output = { "of sum" } });
    }

    // What it computes with is four times its output, which is within the limit.
    private static void LongMemory(ModelProto model)
    {
        const int Steps = 34_000;
        const int Hidden = 500;
        model.Graph.Initializer.Add(new TensorProto { Name = "one", DataType = 7, Dims = { 3 }, Int64Data = { 0, 1, 1 } });
        model.Graph.Initializer.Add(new TensorProto { Name = "all", DataType = 7, Dims = { 3 }, Int64Data = { 1, Steps, 1 } });
        OfSum(model, "Reshape");
        model.Graph.Node[3].Input.Add("one");
        model.Graph.Initializer.Add([Ones("input", 1, 4 * Hidden, 1), Ones("hidden", 1, 4 * Hidden, Hidden)]);
        model.Graph.Node.Insert(4, new NodeProto { OpType = "Expand", Input = { "of sum", "all" }, Output = { "steps" } });
        model.Graph.Node.Insert(5, new NodeProto { OpType = "Transpose", Input = { "steps" }, Output = { "steps first" }, Attribute = { OnnxGraph.List("perm", [1, 0, 2]) } });
        model.Graph.Node.Insert(6, new NodeProto { OpType = "LSTM", Input = { "steps first", "input", "hidden" }, Output = { "memory" }, Attribute = { OnnxGraph.Integer("hidden_size", Hidden) } });
    }

    private static TensorProto Ones(string name, params long[] dims)
    {
        var numbers = new float[dims.Aggregate(1L, (a, b) => a * b)];
        numbers.AsSpan().Fill(1);
        return new TensorProto { Name = name, DataType = 1, Dims = { dims }, RawData = ByteString.CopyFrom(System.Runtime.InteropServices.MemoryMarshal.AsBytes(numbers.AsSpan())) };
    }

    private static void Pad(ModelProto model, string mode, long[] pads)
    {
        model.Graph.Initializer.Add(new TensorProto { Name = "pads", DataType = 7, Dims = { pads.Length }, Int64Data = { pads } });
        model.Graph.Node.Insert(2, new NodeProto { OpType = "Pad", Input = { model.Graph.Node[1].Output[0], "pads" }, Output = { "padded" }, Attribute = { OnnxGraph.Text("mode", mode) } });
    }

    private static void Conv(ModelProto model, long[] weights, params AttributeProto[] attributes)
    {
        model.Graph.Initializer.Add(new TensorProto { Name = "kernel", DataType = 1, Dims = { weights }, RawData = ByteString.CopyFrom(new byte[weights.Aggregate(4L, (a, b) => Math.Min(a * b, 4096))]) });
        model.Graph.Initializer.Add(new TensorProto { Name = "image", DataType = 7, Dims = { 3 }, Int64Data = { 0, 1, 4 } });
        model.Graph.Node.Insert(2, new NodeProto { OpType = "Reshape", Input = { model.Graph.Node[1].Output[0], "image" }, Output = { "as image" } });
        model.Graph.Node.Insert(3, new NodeProto { OpType = "Conv", Input = { "as image", "kernel" }, Output = { "folded" }, Attribute = { attributes } });
    }
}

internal static class ListExtensions
{
    public static void Swap(this IList<long> list) => (list[0], list[1]) = (list[1], list[0]);
}

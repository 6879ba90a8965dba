using Google.Protobuf;
using Google.Protobuf.Reflection;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>A model is a program that a worker sends: ours is taken, whatever else is refused before anything of it runs or grows.</summary>
[TestClass]
public sealed class OnnxMlpReaderTests
{
    public static IEnumerable<object[]> Forgeries =>
    [
        ["9 GB made of nothing", "Node 3 of the model, \"node.3\" (ConstantOfShape), is not the Mul", (Action<ModelProto>)(m => m.Graph.Node.Insert(3, new NodeProto { OpType = "ConstantOfShape", Name = "node.3", Input = { "shape" }, Output = { "huge" } }))],
        ["a loop without end", "Node 4 of the model, \"node.4\" (Loop), is not the Gemm", (Action<ModelProto>)(m => (m.Graph.Node[4].OpType, m.Graph.Node[4].Attribute[0].G) = ("Loop", new GraphProto()))],
        ["an operator behind the last", "Node 10 of the model, \"again\" (Identity), comes behind the last", (Action<ModelProto>)(m => m.Graph.Node.Add(new NodeProto { OpType = "Identity", Name = "again", Input = { "score" }, Output = { "more" } }))],
        ["an operator too few", "The model ends before node 9, expected Clip", (Action<ModelProto>)(m => m.Graph.Node.RemoveAt(9))],
        ["an operator of another library", "Node 0 of the model", (Action<ModelProto>)(m => m.Graph.Node[0].Domain = "evil")],
        ["escapes in a name", @"""\e[2J"" (\u202EIsNaN)", (Action<ModelProto>)(m => (m.Graph.Node[0].Name, m.Graph.Node[0].OpType) = ("\e[2J", "\u202EIsNaN"))],
        ["another input", "outputs are not \"score\" of the shape [N, 4]", (Action<ModelProto>)(m => m.Graph.Output[0].Type.TensorType.Shape.Dim[1].DimValue = int.MaxValue)],
        ["another output", "input is not \"features\" of the shape [N, 13]", (Action<ModelProto>)(m => m.Graph.Input[0].Type.TensorType.Shape.Dim[1].DimValue = -1)],
        ["a bias of 0 numbers", "\"layers.0.bias\" [0] with 0 bytes, is not \"layers.0.bias\" [17]", (Action<ModelProto>)(m => Change(m, "layers.0.bias", t => (t.Dims[0], t.RawData) = (0, ByteString.Empty)))],
        ["a shape that overflows", "[4611686018427387904, 4, 17, 13]", (Action<ModelProto>)(m => Change(m, "layers.0.weight", t => { t.Dims.Insert(0, 4); t.Dims.Insert(0, 1L << 62); }))],
        ["numbers of another type", "\"layers.0.weight\" [17, 13]", (Action<ModelProto>)(m => Change(m, "layers.0.weight", t => t.DataType = 7))],
        ["half a number", "with 67 bytes", (Action<ModelProto>)(m => Change(m, "layers.0.bias", t => t.RawData = ByteString.CopyFrom(t.RawData.ToByteArray()[..^1])))],
        ["not a number", "\"layers.0.bias\" of the model is NaN at 0, expected finite numbers", (Action<ModelProto>)(m => Change(m, "layers.0.bias", t => t.RawData = ByteString.CopyFrom([0, 0, 0xC0, 0x7F, .. t.RawData.ToByteArray()[4..]])))],
        ["a variance below 0", "\"norms.0.running_var\" of the model is -2 at 0, expected finite numbers from 0", (Action<ModelProto>)(m => Change(m, "norms.0.running_var", t => t.RawData = ByteString.CopyFrom([0, 0, 0, 0xC0, .. t.RawData.ToByteArray()[4..]])))],
        ["a tensor more", "has 12 tensors, expected 11", (Action<ModelProto>)(m => m.Graph.Initializer.Add(new TensorProto { Name = "more", DataType = 1 }))],
        ["another version", "ONNX version 11, expected 10", (Action<ModelProto>)(m => m.IrVersion = 11)],
    ];

    [TestMethod]
    [DynamicData(nameof(Forgeries))]
    public void Read_ForgedGraph_NamesWhatIsNotOurs(string what, string expected, Action<ModelProto> forge)
    {
        var (spec, model) = Network();
        forge(model);

        var e = Assert.ThrowsExactly<FormatException>(() => OnnxMlpReader.Read(model.ToByteArray(), spec), what);

        Assert.Contains(expected, e.Message);
        Assert.DoesNotContain('\e', e.Message);
    }

    [TestMethod]
    public void Fit_WorkerSendsAnotherGraph_IsAnErrorOfTheClusterThatNamesJobAndNode()
    {
        using var backend = new FakeBackend();
        backend.Forge = onnx =>
        {
            var model = ModelProto.Parser.ParseFrom(onnx);
            model.Graph.Node[^1].OpType = "Loop";
            return model.ToByteArray();
        };
        var ml = new MLContext(seed: 1).UseCluster(backend);

        var e = Assert.ThrowsExactly<ClusterException>(() => ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(ml.Data.LoadFromEnumerable(SyntheticData.Examples(30))));

        Assert.AreEqual("job-1", e.JobId);
        Assert.Contains("(Loop), is not the ", e.Message);
    }

    [TestMethod]
    public void Read_EachFieldChanged_IsRefused()
    {
        var (spec, model) = Network();
        var fields = Fields(model).Count();
        Assert.IsGreaterThan(200, fields);
        for (var i = 0; i < fields; i++)
        {
            var changed = model.Clone();
            var (message, field) = Fields(changed).ElementAt(i);
            Change(message, field);
            if (field.FullName == "mldist.onnx.ModelProto.producer_version")
                OnnxMlpReader.Read(changed.ToByteArray(), spec); // of another release
            else
                Assert.ThrowsExactly<FormatException>(() => OnnxMlpReader.Read(changed.ToByteArray(), spec), field.FullName);
        }
    }

    [TestMethod]
    public void Read_DamagedBytes_AreAModelOfThisJobOrRefusedAndGrowNothing()
    {
        var (spec, model) = Network();
        var (onnx, random, read) = (model.ToByteArray(), new Random(20261127), 0);
        for (var round = 0; round < 20_000; round++)
        {
            var bytes = Damage(onnx, random);
            var before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                OnnxMlpReader.Read(bytes, spec);
                read++;
            }
            catch (FormatException)
            {
                // As it should be.
            }

            Assert.IsLessThan(1 << 20, GC.GetAllocatedBytesForCurrentThread() - before, $"round {round}");
        }

        Assert.IsGreaterThan(1000, read, "a number that is another number is the worker's to say");
    }

    [TestMethod]
    public void Read_MillionsOfEmptyParts_AreCountedBeforeTheyAreParsed()
    {
        // A network of 8 MB, whose file holds 2 bytes an operator instead of numbers: 400 MB once parsed.
        var spec = RandomNetworks.Spec(new Random(1), MlTask.Regression, 1000, 1, [2000], Activation.Relu, LayerNormalization.None, isScaled: false);
        var size = OnnxMlpSize.Of(spec);
        byte[] Repeated(byte tag) => [0x3A, .. Varint((int)size.Least), .. Enumerable.Repeat(new byte[] { tag, 0 }, (int)size.Least / 2).SelectMany(b => b)];
        foreach (var (bytes, what) in new[] { (Repeated(0x0A), "nodes"), (Repeated(0x2A), "tensors"), (Repeated(0x7A), "unknown"), (Enumerable.Repeat(new byte[] { 0x3A, 0 }, (int)size.Least / 2).SelectMany(b => b).ToArray(), "graphs") })
        {
            var before = GC.GetAllocatedBytesForCurrentThread();

            var e = Assert.ThrowsExactly<FormatException>(() => OnnxMlpReader.Read(bytes, spec), what);

            Assert.Contains("besides its tensors' numbers", e.Message);
            Assert.IsLessThan(1 << 20, GC.GetAllocatedBytesForCurrentThread() - before, what);
        }
    }

    [TestMethod]
    public void Read_FieldsThatAreNotOurs_AreRefused()
    {
        // Of ModelProto: local functions; of a tensor: the file that its numbers lie in.
        var (spec, model) = Network();
        var functions = model.ToByteArray().Concat(new byte[] { 0xCA, 0x01, 0x00 }).ToArray();

        Assert.Contains("fields that are none of ours", Assert.ThrowsExactly<FormatException>(() => OnnxMlpReader.Read(functions, spec)).Message);
    }

    [TestMethod]
    public void Read_SpecThatNoJobHas_IsRefused()
    {
        var (good, model) = Network();
        var onnx = model.ToByteArray();
        Action<JobSpec>[] changes =
        [
            s => s.Module = null,
            s => s.Task = (MlTask)99,
            s => s.Task = MlTask.Binary,
            s => s.Module.Mlp.Activation = (Activation)77,
            s => s.Module.Mlp.Normalization = (LayerNormalization)7,
            s => s.Module.Mlp.InputSize = -13,
            s => s.Module.Mlp.InputSize = int.MaxValue,
            s => s.Module.Mlp.HiddenSizes[0] = 0,
            s => s.Module.Mlp.HiddenSizes.Add(Enumerable.Repeat(int.MaxValue, 900)),
            s => s.Module.Mlp.HiddenSizes.Add(Enumerable.Repeat(1, 1_000_000)),
            s => s.Module.Mlp.OutputSize = 0,
        ];
        foreach (var change in changes)
        {
            var spec = good.Clone();
            change(spec);
            Assert.ThrowsExactly<FormatException>(() => OnnxMlpReader.Read(onnx, spec), spec.ToString()[..Math.Min(500, spec.ToString().Length)]);
        }
    }

    [TestMethod]
    public void Size_EveryNetwork_HoldsTheFileThatIsWritten()
    {
        foreach (var normalization in Enum.GetValues<LayerNormalization>())
        {
            foreach (var depth in new[] { 0, 1, 100 })
            {
                var spec = RandomNetworks.Spec(new Random(1), MlTask.Regression, 3, 1, [.. Enumerable.Repeat(2, depth)], Activation.Gelu, normalization, isScaled: true);
                var (least, most) = OnnxMlpSize.Of(spec);
                var length = OnnxMlpWriter.Write(spec, RandomNetworks.Weights(new Random(1), spec.Module.Mlp)).CalculateSize();
                Assert.IsTrue(length >= least && length - least < (most - least) * 0.6, $"{length}, of {least} to {most}");
            }
        }
    }

    private static (JobSpec Spec, ModelProto Model) Network()
    {
        var random = new Random(11);
        var spec = RandomNetworks.Spec(random, MlTask.Multiclass, 13, 4, [17], Activation.Relu, LayerNormalization.Batch, isScaled: true);
        return (spec, OnnxMlpWriter.Write(spec, RandomNetworks.Weights(random, spec.Module.Mlp)));
    }

    private static void Change(ModelProto model, string tensor, Action<TensorProto> change) => change(model.Graph.Initializer.Single(t => t.Name == tensor));

    // Every field of every message of the model, set or not.
    private static IEnumerable<(IMessage Message, FieldDescriptor Field)> Fields(IMessage message)
    {
        foreach (var field in message.Descriptor.Fields.InDeclarationOrder())
        {
            yield return (message, field);
            var value = field.Accessor.GetValue(message);
            foreach (var inner in value is System.Collections.IEnumerable and not (string or ByteString) ? ((System.Collections.IEnumerable)value).OfType<IMessage>() : value is IMessage one ? [one] : [])
                foreach (var deeper in Fields(inner))
                    yield return deeper;
        }
    }

    private static void Change(IMessage message, FieldDescriptor field)
    {
        var value = field.Accessor.GetValue(message);
        if (value is System.Collections.IList list)
        {
            if (list.Count > 0)
                list.RemoveAt(0);
            else
                list.Add(Other(field, null));
            return;
        }

        field.Accessor.SetValue(message, Other(field, value));
    }

    private static object Other(FieldDescriptor field, object? value) => field.FieldType switch
    {
        FieldType.Message when value is null => field.MessageType.Parser.ParseFrom(ByteString.Empty),
        FieldType.Message => null!,
        FieldType.String => value + "x",
        FieldType.Bytes => ByteString.CopyFrom([1, .. ((ByteString?)value ?? ByteString.Empty).ToByteArray()]),
        FieldType.Int64 => (long)(value ?? 0L) + 1,
        FieldType.Int32 => (int)(value ?? 0) + 1,
        FieldType.Enum => (int)(value ?? 0) == 3 ? 4 : 3,
        FieldType.Float => (float)(value ?? 0f) + 1,
        _ => throw new NotSupportedException($"{field.FieldType}"),
    };

    private static byte[] Damage(byte[] onnx, Random random)
    {
        var bytes = onnx.ToList();
        for (var times = random.Next(3); times >= 0; times--)
        {
            var at = random.Next(bytes.Count);
            switch (random.Next(4))
            {
                case 0:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 2:
                    bytes.RemoveRange(at, Math.Min(random.Next(1, 9), bytes.Count - at));
                    break;
                default:
                    bytes.InsertRange(at, bytes.GetRange(Math.Max(0, at - 8), Math.Min(8, at)));
                    break;
            }
        }

        return [.. bytes];
    }

    private static byte[] Varint(int value)
    {
        var bytes = new byte[5];
        using var output = new CodedOutputStream(bytes);
        output.WriteUInt32((uint)value);
        return bytes[..(int)output.Position];
    }
}

using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Tests.Shared;
using SkiaSharp;

namespace MLDistributed.Bench;

/// <summary>
/// Which kind of thing a coloured drawing shows, with 20 drawings of each kind to learn from. The drawings are those of Google's font Noto
/// Color Emoji (SIL Open Font License 1.1), the kinds those of Unicode's own list, both as Debian packages have them; nothing of them is shipped.
/// </summary>
internal static class DrawingQuality
{
    private const int TrainingRowsPerClass = 20;
    private const int TestRowsPerClass = 40;
    private const int LeastTestRows = 20;
    private const int Side = 48;
    private const string Font = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf";
    private const string List = "/usr/share/unicode/emoji/emoji-test.txt";

    // By what the names of Unicode's subgroups begin with.
    private static readonly (string Kind, string[] Subgroups)[] s_kinds =
    [
        ("face", ["face-"]), ("person", ["person", "family"]), ("animal", ["animal-"]), ("food", ["food-", "drink"]), ("vehicle", ["transport-ground", "transport-water", "transport-air"]),
        ("place", ["place-"]), ("clothing", ["clothing"]), ("weather", ["sky"]), ("game", ["sport", "game", "event"]), ("tool", ["tool", "household", "office", "computer", "light"]),
    ];

    public static void Compare()
    {
        if (!File.Exists(Font) || !File.Exists(List) || ImageFeaturizer.Missing is not null)
        {
            Console.WriteLine($"\ndrawings: left out. {ImageFeaturizer.Missing ?? $"{Font} or {List} is not there. Install Debian's packages fonts-noto-color-emoji and unicode-data."}");
            return;
        }

        var drawings = Read();
        var table = new QualityTable($"drawings ({s_kinds.Length} kinds, {TrainingRowsPerClass} of each), {Side} x {Side}, micro accuracy", 1, 2, 3);
        var weights = ImageWeights.FromDnnImageFeaturizer(ImageFeaturizer.Path);
        Row("**ResNet-18, the head alone**", new() { Weights = weights, FreezeBackbone = true });
        Row("**ResNet-18, fine-tuned**", new() { Weights = weights });
        Row("ResNet-18, from scratch", new() { Arch = weights.Architecture!.Value });

        void Row(string name, DistributedImageClassificationTrainer.Options options) => table.Row(
            name, (ml, seed) => Split(ml, drawings, seed), ml => ml.Transforms.Conversion.MapValueToKey("Label", nameof(Drawing.Kind)).Append(Ours(ml, options)), Quality.MicroAccuracy);
    }

    private static DistributedImageClassificationTrainer Ours(MLContext ml, DistributedImageClassificationTrainer.Options options)
    {
        options.FeatureColumnName = nameof(Drawing.Image);
        (options.ImageHeight, options.Epoch, options.BatchSize, options.ValidationFraction) = (Side, 12, 20, 0);
        options.CheckpointIntervalEpochs = 0;
        options.Augmentation = new ImageAugmentation { LeastArea = 0.6, Flip = 0.5, Brightness = 0.2, Contrast = 0.2 };
        return ml.MulticlassClassification.Trainers.DistributedImageClassification(options);
    }

    private static (IDataView Training, IDataView Test) Split(MLContext ml, IReadOnlyList<Drawing> drawings, int seed)
    {
        var random = new Random(seed);
        var kinds = drawings.GroupBy(d => d.Kind).OrderBy(g => g.Key, StringComparer.Ordinal).Select(g => g.OrderBy(_ => random.Next()).ToList()).ToList();
        if (kinds.Count != s_kinds.Length || kinds.Exists(k => k.Count < TrainingRowsPerClass + LeastTestRows))
            throw new InvalidDataException($"The font has {string.Join(", ", kinds.Select(k => $"{k.Count} of \"{k[0].Kind}\""))}, expected {TrainingRowsPerClass + LeastTestRows} of each of {s_kinds.Length}.");
        return (ml.Data.LoadFromEnumerable(kinds.SelectMany(k => k.Take(TrainingRowsPerClass)).ToList()), ml.Data.LoadFromEnumerable(kinds.SelectMany(k => k.Skip(TrainingRowsPerClass).Take(TestRowsPerClass)).ToList()));
    }

    // Those of one code point, as several ask for a text shaper.
    private static List<Drawing> Read()
    {
        var drawings = new List<Drawing>();
        using var typeface = SKTypeface.FromFile(Font);
        using var paint = new SKPaint { Typeface = typeface, TextSize = 109, IsAntialias = true };
        string? kind = null;
        foreach (var line in File.ReadLines(List))
        {
            if (line.StartsWith("# subgroup: ", StringComparison.Ordinal))
                kind = Array.Find(s_kinds, k => Array.Exists(k.Subgroups, s => line["# subgroup: ".Length..].StartsWith(s, StringComparison.Ordinal))).Kind;
            if (kind is null || line.StartsWith('#') || !line.Contains("fully-qualified", StringComparison.Ordinal))
                continue;
            var points = line.Split(';')[0].Split(' ', StringSplitOptions.RemoveEmptyEntries).Where(p => p != "FE0F").ToArray();
            if (points is [var point] && Draw(paint, char.ConvertFromUtf32(int.Parse(point, NumberStyles.HexNumber, CultureInfo.InvariantCulture))) is { } image)
                drawings.Add(new Drawing { Image = image, Kind = kind });
        }

        return drawings;
    }

    private static byte[]? Draw(SKPaint paint, string text)
    {
        const int Size = 140;
        if (!paint.ContainsGlyphs(text))
            return null;
        using var bitmap = new SKBitmap(Size, Size, SKColorType.Rgba8888, SKAlphaType.Opaque);
        using var canvas = new SKCanvas(bitmap);
        canvas.Clear(SKColors.White);
        var bounds = default(SKRect);
        paint.MeasureText(text, ref bounds);
        canvas.DrawText(text, ((Size - bounds.Width) / 2) - bounds.Left, ((Size - bounds.Height) / 2) - bounds.Top, paint);
        using var png = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        return png.ToArray();
    }

    private sealed class Drawing
    {
        public byte[] Image { get; set; } = [];

        public string Kind { get; set; } = "";
    }
}

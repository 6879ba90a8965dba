using System.Text.Json;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>A model as Hugging Face has them.</summary>
internal static class HuggingFaceFolder
{
    private const int MaxConfigBytes = 1 << 20;

    public static TextWeights Read(string folder)
    {
        var config = Json(Path.Combine(folder, "config.json"));
        var type = Text(config, "model_type") ?? "bert";
        if (type is not ("bert" or "roberta" or "xlm-roberta"))
            throw Unfit(folder, $"model_type is \"{type}\"", "\"bert\", \"roberta\" or \"xlm-roberta\"");
        if (Text(config, "position_embedding_type") is { } positions and not "absolute")
            throw Unfit(folder, $"position_embedding_type is \"{positions}\"", "\"absolute\"");
        var activation = Text(config, "hidden_act") switch
        {
            "gelu" or null => Activation.Gelu,
            "relu" => Activation.Relu,
            var other => throw Unfit(folder, $"hidden_act is \"{other}\"", "\"gelu\" or \"relu\""),
        };
        using var file = File.OpenRead(Path.Combine(folder, "model.safetensors"));
        var tensors = EncoderTensors.Renamed(TensorFile.Read(file).Values);
        var vocabulary = type == "bert" ? TextVocabulary.FromFile(Path.Combine(folder, "vocab.txt"), IsLowerCase(folder))
            : type == "xlm-roberta" ? TextVocabulary.FromSentencePiece(Path.Combine(folder, "sentencepiece.bpe.model"))
            : TextVocabulary.FromBytePairFiles(Path.Combine(folder, "vocab.json"), Path.Combine(folder, "merges.txt"));
        // What was 0 is where padding was.
        if (type != "bert")
            EncoderTensors.MakeBert(tensors, vocabulary.IdOf(BytePairs.First) is var padding && padding == Number(config, "pad_token_id") ? padding : throw Unfit(folder, $"pad_token_id is {Number(config, "pad_token_id")}", $"{padding}, the id of {BytePairs.Padding}, with {BytePairs.First} as 0"), $"\"{folder}\"");
        var (tokens, width) = EncoderTensors.Table(tensors, TextTensors.Words, $"\"{folder}\"");
        if (tokens < vocabulary.Tokens.Count)
            throw Unfit(folder, $"its vocabulary has {vocabulary.Tokens.Count:N0} tokens", $"at most the {tokens:N0} that the weights have");
        return new TextWeights(vocabulary, tensors.Values)
        {
            VocabularySize = tokens,
            Width = width,
            Layers = Number(config, "num_hidden_layers") ?? EncoderTensors.Layers(tensors.Keys),
            Heads = Number(config, "num_attention_heads") ?? throw Unfit(folder, "num_attention_heads is missing", "a number"),
            FeedForwardSize = Number(config, "intermediate_size") ?? throw Unfit(folder, "intermediate_size is missing", "a number"),
            Positions = EncoderTensors.Table(tensors, TextTensors.Positions, $"\"{folder}\"").Rows,
            NormEpsilon = config.TryGetProperty("layer_norm_eps", out var epsilon) && epsilon.TryGetDouble(out var value) ? value : 1e-12,
            Activation = activation,
            Pooling = PoolingOf(folder),
        };
    }

    // As sentence-transformers say it.
    private static TextPooling PoolingOf(string folder)
    {
        var path = Path.Combine(folder, "1_Pooling", "config.json");
        return File.Exists(path) && Json(path).TryGetProperty("pooling_mode_mean_tokens", out var mean) && mean.ValueKind == JsonValueKind.True ? TextPooling.Mean : TextPooling.First;
    }

    private static bool IsLowerCase(string folder)
    {
        var path = Path.Combine(folder, "tokenizer_config.json");
        return !File.Exists(path) || !Json(path).TryGetProperty("do_lower_case", out var lower) || lower.ValueKind != JsonValueKind.False;
    }

    private static JsonElement Json(string path)
    {
        try
        {
            if (new FileInfo(path) is { Exists: true, Length: > MaxConfigBytes } large)
                throw new FormatException($"\"{path}\" has {large.Length:N0} bytes, expected at most {MaxConfigBytes:N0} of JSON.");
            using var document = JsonDocument.Parse(File.ReadAllBytes(path));
            return document.RootElement.ValueKind == JsonValueKind.Object ? document.RootElement.Clone() : throw new FormatException($"\"{path}\" is no object of JSON, expected the configuration of a model.");
        }
        catch (JsonException e)
        {
            throw new FormatException($"\"{path}\" is no JSON ({e.Message.TrimEnd('.')}), expected the configuration of a model.", e);
        }
    }

    private static string? Text(JsonElement config, string name) => config.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static int? Number(JsonElement config, string name) => config.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) ? number : null;

    private static FormatException Unfit(string folder, string what, string expected) => new($"The model in \"{folder}\" cannot be used: {VisibleText.Of(what)}, expected {expected}. Take an encoder of BERT's or RoBERTa's kind.");
}

# Generated from master_subset.proto by grpcio-tools; do not edit.
# ruff: noqa
# mypy: ignore-errors
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VolumeInformationMessage(_message.Message):
    __slots__ = ("id", "size", "collection", "read_only", "replica_placement", "ttl", "disk_type")
    ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    REPLICA_PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    DISK_TYPE_FIELD_NUMBER: _ClassVar[int]
    id: int
    size: int
    collection: str
    read_only: bool
    replica_placement: int
    ttl: int
    disk_type: str
    def __init__(self, id: _Optional[int] = ..., size: _Optional[int] = ..., collection: _Optional[str] = ..., read_only: bool = ..., replica_placement: _Optional[int] = ..., ttl: _Optional[int] = ..., disk_type: _Optional[str] = ...) -> None: ...

class VolumeEcShardInformationMessage(_message.Message):
    __slots__ = ("id", "collection", "ec_index_bits", "shard_sizes")
    ID_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    EC_INDEX_BITS_FIELD_NUMBER: _ClassVar[int]
    SHARD_SIZES_FIELD_NUMBER: _ClassVar[int]
    id: int
    collection: str
    ec_index_bits: int
    shard_sizes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, id: _Optional[int] = ..., collection: _Optional[str] = ..., ec_index_bits: _Optional[int] = ..., shard_sizes: _Optional[_Iterable[int]] = ...) -> None: ...

class DiskInfo(_message.Message):
    __slots__ = ("type", "volume_infos", "ec_shard_infos")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    VOLUME_INFOS_FIELD_NUMBER: _ClassVar[int]
    EC_SHARD_INFOS_FIELD_NUMBER: _ClassVar[int]
    type: str
    volume_infos: _containers.RepeatedCompositeFieldContainer[VolumeInformationMessage]
    ec_shard_infos: _containers.RepeatedCompositeFieldContainer[VolumeEcShardInformationMessage]
    def __init__(self, type: _Optional[str] = ..., volume_infos: _Optional[_Iterable[_Union[VolumeInformationMessage, _Mapping]]] = ..., ec_shard_infos: _Optional[_Iterable[_Union[VolumeEcShardInformationMessage, _Mapping]]] = ...) -> None: ...

class DataNodeInfo(_message.Message):
    __slots__ = ("id", "diskInfos", "grpc_port", "address")
    class DiskInfosEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: DiskInfo
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[DiskInfo, _Mapping]] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    DISKINFOS_FIELD_NUMBER: _ClassVar[int]
    GRPC_PORT_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    id: str
    diskInfos: _containers.MessageMap[str, DiskInfo]
    grpc_port: int
    address: str
    def __init__(self, id: _Optional[str] = ..., diskInfos: _Optional[_Mapping[str, DiskInfo]] = ..., grpc_port: _Optional[int] = ..., address: _Optional[str] = ...) -> None: ...

class RackInfo(_message.Message):
    __slots__ = ("id", "data_node_infos")
    ID_FIELD_NUMBER: _ClassVar[int]
    DATA_NODE_INFOS_FIELD_NUMBER: _ClassVar[int]
    id: str
    data_node_infos: _containers.RepeatedCompositeFieldContainer[DataNodeInfo]
    def __init__(self, id: _Optional[str] = ..., data_node_infos: _Optional[_Iterable[_Union[DataNodeInfo, _Mapping]]] = ...) -> None: ...

class DataCenterInfo(_message.Message):
    __slots__ = ("id", "rack_infos")
    ID_FIELD_NUMBER: _ClassVar[int]
    RACK_INFOS_FIELD_NUMBER: _ClassVar[int]
    id: str
    rack_infos: _containers.RepeatedCompositeFieldContainer[RackInfo]
    def __init__(self, id: _Optional[str] = ..., rack_infos: _Optional[_Iterable[_Union[RackInfo, _Mapping]]] = ...) -> None: ...

class TopologyInfo(_message.Message):
    __slots__ = ("id", "data_center_infos")
    ID_FIELD_NUMBER: _ClassVar[int]
    DATA_CENTER_INFOS_FIELD_NUMBER: _ClassVar[int]
    id: str
    data_center_infos: _containers.RepeatedCompositeFieldContainer[DataCenterInfo]
    def __init__(self, id: _Optional[str] = ..., data_center_infos: _Optional[_Iterable[_Union[DataCenterInfo, _Mapping]]] = ...) -> None: ...

class VolumeListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VolumeListResponse(_message.Message):
    __slots__ = ("topology_info", "volume_size_limit_mb")
    TOPOLOGY_INFO_FIELD_NUMBER: _ClassVar[int]
    VOLUME_SIZE_LIMIT_MB_FIELD_NUMBER: _ClassVar[int]
    topology_info: TopologyInfo
    volume_size_limit_mb: int
    def __init__(self, topology_info: _Optional[_Union[TopologyInfo, _Mapping]] = ..., volume_size_limit_mb: _Optional[int] = ...) -> None: ...

class RaftListClusterServersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RaftListClusterServersResponse(_message.Message):
    __slots__ = ("cluster_servers",)
    class ClusterServers(_message.Message):
        __slots__ = ("id", "address", "suffrage", "isLeader")
        ID_FIELD_NUMBER: _ClassVar[int]
        ADDRESS_FIELD_NUMBER: _ClassVar[int]
        SUFFRAGE_FIELD_NUMBER: _ClassVar[int]
        ISLEADER_FIELD_NUMBER: _ClassVar[int]
        id: str
        address: str
        suffrage: str
        isLeader: bool
        def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ..., suffrage: _Optional[str] = ..., isLeader: bool = ...) -> None: ...
    CLUSTER_SERVERS_FIELD_NUMBER: _ClassVar[int]
    cluster_servers: _containers.RepeatedCompositeFieldContainer[RaftListClusterServersResponse.ClusterServers]
    def __init__(self, cluster_servers: _Optional[_Iterable[_Union[RaftListClusterServersResponse.ClusterServers, _Mapping]]] = ...) -> None: ...

class RaftLeadershipTransferRequest(_message.Message):
    __slots__ = ("target_id", "target_address")
    TARGET_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    target_id: str
    target_address: str
    def __init__(self, target_id: _Optional[str] = ..., target_address: _Optional[str] = ...) -> None: ...

class RaftLeadershipTransferResponse(_message.Message):
    __slots__ = ("previous_leader", "new_leader")
    PREVIOUS_LEADER_FIELD_NUMBER: _ClassVar[int]
    NEW_LEADER_FIELD_NUMBER: _ClassVar[int]
    previous_leader: str
    new_leader: str
    def __init__(self, previous_leader: _Optional[str] = ..., new_leader: _Optional[str] = ...) -> None: ...

class VolumeGrowRequest(_message.Message):
    __slots__ = ("writable_volume_count", "replication", "collection", "ttl", "data_center", "rack", "data_node", "disk_type")
    WRITABLE_VOLUME_COUNT_FIELD_NUMBER: _ClassVar[int]
    REPLICATION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    DATA_CENTER_FIELD_NUMBER: _ClassVar[int]
    RACK_FIELD_NUMBER: _ClassVar[int]
    DATA_NODE_FIELD_NUMBER: _ClassVar[int]
    DISK_TYPE_FIELD_NUMBER: _ClassVar[int]
    writable_volume_count: int
    replication: str
    collection: str
    ttl: str
    data_center: str
    rack: str
    data_node: str
    disk_type: str
    def __init__(self, writable_volume_count: _Optional[int] = ..., replication: _Optional[str] = ..., collection: _Optional[str] = ..., ttl: _Optional[str] = ..., data_center: _Optional[str] = ..., rack: _Optional[str] = ..., data_node: _Optional[str] = ..., disk_type: _Optional[str] = ...) -> None: ...

class VolumeGrowResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LeaseAdminTokenRequest(_message.Message):
    __slots__ = ("previous_token", "previous_lock_time", "lock_name", "client_name", "message")
    PREVIOUS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_LOCK_TIME_FIELD_NUMBER: _ClassVar[int]
    LOCK_NAME_FIELD_NUMBER: _ClassVar[int]
    CLIENT_NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    previous_token: int
    previous_lock_time: int
    lock_name: str
    client_name: str
    message: str
    def __init__(self, previous_token: _Optional[int] = ..., previous_lock_time: _Optional[int] = ..., lock_name: _Optional[str] = ..., client_name: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class LeaseAdminTokenResponse(_message.Message):
    __slots__ = ("token", "lock_ts_ns")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOCK_TS_NS_FIELD_NUMBER: _ClassVar[int]
    token: int
    lock_ts_ns: int
    def __init__(self, token: _Optional[int] = ..., lock_ts_ns: _Optional[int] = ...) -> None: ...

class ReleaseAdminTokenRequest(_message.Message):
    __slots__ = ("previous_token", "previous_lock_time", "lock_name")
    PREVIOUS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_LOCK_TIME_FIELD_NUMBER: _ClassVar[int]
    LOCK_NAME_FIELD_NUMBER: _ClassVar[int]
    previous_token: int
    previous_lock_time: int
    lock_name: str
    def __init__(self, previous_token: _Optional[int] = ..., previous_lock_time: _Optional[int] = ..., lock_name: _Optional[str] = ...) -> None: ...

class ReleaseAdminTokenResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VolumeEcShardsCopyRequest(_message.Message):
    __slots__ = ("volume_id", "collection", "shard_ids", "copy_ecx_file", "source_data_node", "copy_ecj_file", "copy_vif_file", "copy_ecsum_file")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SHARD_IDS_FIELD_NUMBER: _ClassVar[int]
    COPY_ECX_FILE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_DATA_NODE_FIELD_NUMBER: _ClassVar[int]
    COPY_ECJ_FILE_FIELD_NUMBER: _ClassVar[int]
    COPY_VIF_FILE_FIELD_NUMBER: _ClassVar[int]
    COPY_ECSUM_FILE_FIELD_NUMBER: _ClassVar[int]
    volume_id: int
    collection: str
    shard_ids: _containers.RepeatedScalarFieldContainer[int]
    copy_ecx_file: bool
    source_data_node: str
    copy_ecj_file: bool
    copy_vif_file: bool
    copy_ecsum_file: bool
    def __init__(self, volume_id: _Optional[int] = ..., collection: _Optional[str] = ..., shard_ids: _Optional[_Iterable[int]] = ..., copy_ecx_file: bool = ..., source_data_node: _Optional[str] = ..., copy_ecj_file: bool = ..., copy_vif_file: bool = ..., copy_ecsum_file: bool = ...) -> None: ...

class VolumeEcShardsMountRequest(_message.Message):
    __slots__ = ("volume_id", "collection", "shard_ids")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SHARD_IDS_FIELD_NUMBER: _ClassVar[int]
    volume_id: int
    collection: str
    shard_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, volume_id: _Optional[int] = ..., collection: _Optional[str] = ..., shard_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class VolumeEcShardsUnmountRequest(_message.Message):
    __slots__ = ("volume_id", "shard_ids")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    SHARD_IDS_FIELD_NUMBER: _ClassVar[int]
    volume_id: int
    shard_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, volume_id: _Optional[int] = ..., shard_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class VolumeEcShardsDeleteRequest(_message.Message):
    __slots__ = ("volume_id", "collection", "shard_ids")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SHARD_IDS_FIELD_NUMBER: _ClassVar[int]
    volume_id: int
    collection: str
    shard_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, volume_id: _Optional[int] = ..., collection: _Optional[str] = ..., shard_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class VolumeEcShardsInfoRequest(_message.Message):
    __slots__ = ("volume_id",)
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    volume_id: int
    def __init__(self, volume_id: _Optional[int] = ...) -> None: ...

class EcShardInfo(_message.Message):
    __slots__ = ("shard_id", "size")
    SHARD_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    shard_id: int
    size: int
    def __init__(self, shard_id: _Optional[int] = ..., size: _Optional[int] = ...) -> None: ...

class EcShardConfig(_message.Message):
    __slots__ = ("data_shards", "parity_shards", "block_size")
    DATA_SHARDS_FIELD_NUMBER: _ClassVar[int]
    PARITY_SHARDS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_SIZE_FIELD_NUMBER: _ClassVar[int]
    data_shards: int
    parity_shards: int
    block_size: int
    def __init__(self, data_shards: _Optional[int] = ..., parity_shards: _Optional[int] = ..., block_size: _Optional[int] = ...) -> None: ...

class VolumeEcShardsInfoResponse(_message.Message):
    __slots__ = ("ec_shard_infos", "volume_size", "ec_shard_config")
    EC_SHARD_INFOS_FIELD_NUMBER: _ClassVar[int]
    VOLUME_SIZE_FIELD_NUMBER: _ClassVar[int]
    EC_SHARD_CONFIG_FIELD_NUMBER: _ClassVar[int]
    ec_shard_infos: _containers.RepeatedCompositeFieldContainer[EcShardInfo]
    volume_size: int
    ec_shard_config: EcShardConfig
    def __init__(self, ec_shard_infos: _Optional[_Iterable[_Union[EcShardInfo, _Mapping]]] = ..., volume_size: _Optional[int] = ..., ec_shard_config: _Optional[_Union[EcShardConfig, _Mapping]] = ...) -> None: ...

class CopyFileRequest(_message.Message):
    __slots__ = ("volume_id", "ext", "compaction_revision", "stop_offset", "collection", "is_ec_volume")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    EXT_FIELD_NUMBER: _ClassVar[int]
    COMPACTION_REVISION_FIELD_NUMBER: _ClassVar[int]
    STOP_OFFSET_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IS_EC_VOLUME_FIELD_NUMBER: _ClassVar[int]
    volume_id: int
    ext: str
    compaction_revision: int
    stop_offset: int
    collection: str
    is_ec_volume: bool
    def __init__(self, volume_id: _Optional[int] = ..., ext: _Optional[str] = ..., compaction_revision: _Optional[int] = ..., stop_offset: _Optional[int] = ..., collection: _Optional[str] = ..., is_ec_volume: bool = ...) -> None: ...

class CopyFileResponse(_message.Message):
    __slots__ = ("file_content",)
    FILE_CONTENT_FIELD_NUMBER: _ClassVar[int]
    file_content: bytes
    def __init__(self, file_content: _Optional[bytes] = ...) -> None: ...

class VolumeNeedleStatusRequest(_message.Message):
    __slots__ = ("volume_id", "needle_id")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    NEEDLE_ID_FIELD_NUMBER: _ClassVar[int]
    volume_id: int
    needle_id: int
    def __init__(self, volume_id: _Optional[int] = ..., needle_id: _Optional[int] = ...) -> None: ...

class VolumeServerState(_message.Message):
    __slots__ = ("maintenance", "version")
    MAINTENANCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    maintenance: bool
    version: int
    def __init__(self, maintenance: bool = ..., version: _Optional[int] = ...) -> None: ...

class GetStateRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStateResponse(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: VolumeServerState
    def __init__(self, state: _Optional[_Union[VolumeServerState, _Mapping]] = ...) -> None: ...

class SetStateRequest(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: VolumeServerState
    def __init__(self, state: _Optional[_Union[VolumeServerState, _Mapping]] = ...) -> None: ...

class VolumeMarkReadonlyRequest(_message.Message):
    __slots__ = ("volume_id",)
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    volume_id: int
    def __init__(self, volume_id: _Optional[int] = ...) -> None: ...

class VolumeMarkWritableRequest(_message.Message):
    __slots__ = ("volume_id",)
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    volume_id: int
    def __init__(self, volume_id: _Optional[int] = ...) -> None: ...

class VolumeCopyRequest(_message.Message):
    __slots__ = ("volume_id", "source_data_node")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_DATA_NODE_FIELD_NUMBER: _ClassVar[int]
    volume_id: int
    source_data_node: str
    def __init__(self, volume_id: _Optional[int] = ..., source_data_node: _Optional[str] = ...) -> None: ...

class VolumeDeleteRequest(_message.Message):
    __slots__ = ("volume_id", "keep_remote_data")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    KEEP_REMOTE_DATA_FIELD_NUMBER: _ClassVar[int]
    volume_id: int
    keep_remote_data: bool
    def __init__(self, volume_id: _Optional[int] = ..., keep_remote_data: bool = ...) -> None: ...

class ReadVolumeFileStatusRequest(_message.Message):
    __slots__ = ("volume_id",)
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    volume_id: int
    def __init__(self, volume_id: _Optional[int] = ...) -> None: ...

class ReadVolumeFileStatusResponse(_message.Message):
    __slots__ = ("idx_file_size", "dat_file_size", "file_count")
    IDX_FILE_SIZE_FIELD_NUMBER: _ClassVar[int]
    DAT_FILE_SIZE_FIELD_NUMBER: _ClassVar[int]
    FILE_COUNT_FIELD_NUMBER: _ClassVar[int]
    idx_file_size: int
    dat_file_size: int
    file_count: int
    def __init__(self, idx_file_size: _Optional[int] = ..., dat_file_size: _Optional[int] = ..., file_count: _Optional[int] = ...) -> None: ...

class VolumeServerLeaveRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Answered(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
